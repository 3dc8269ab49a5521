/**
 * One leader among any number of processes: who holds the session lock `schedule`. The server gives the lock back when a
 * process dies, so nobody needs to know of anybody.
 *
 *     waiting ──lock is free──► leading ──stop asked for──► over
 *        ▲                        │
 *        └──connection lost───────┘   (work in hand is stopped at once)
 */
import { asWarehouseError } from '../../db/errors.ts';
import { answers } from '../../db/heartbeat.ts';
import { connectionLoss, releaseAdvisoryLock, tryAdvisoryLock } from '../../db/locks.ts';
import { borrowClient } from '../../db/pool.ts';
import type { Client, Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import type { Clock } from './clock.ts';

/** The lock's name. */
const LEADER_LOCK = 'schedule';

/** A leader whose database says nothing for so long takes itself to be deposed. */
const HEARTBEAT_LIMIT_MS = 5_000;

/** What came of an attempt to lead. */
export type Term =
  /** We led, until the signal or until the connection was lost. */
  | { readonly kind: 'led'; readonly lost: WarehouseError | null }
  /** Another process leads. */
  | { readonly kind: 'waiting' }
  /** There is no database to be had. */
  | { readonly kind: 'unreachable'; readonly error: WarehouseError };

/** How to lead. */
export interface LeaderOptions {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly heartbeat_ms: number;
  readonly signal: AbortSignal;
}

/**
 * Leads if nobody does: runs `work` under a signal that aborts with ours, and when the connection that holds the lock is lost or falls
 * silent. Never throws what the connection threw; that is in the result.
 *
 * @throws whatever `work` threw while we led
 */
export const leadIfFree = async (
  { pool, clock, heartbeat_ms, signal }: LeaderOptions,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<Term> => {
  let borrowed;
  try {
    borrowed = await borrowClient(pool);
  } catch (thrown) {
    return { kind: 'unreachable', error: asWarehouseError(thrown) };
  }
  const { client, release } = borrowed;
  try {
    if (!(await tryAdvisoryLock(client, LEADER_LOCK))) return { kind: 'waiting' };
    return await lead(client, clock, heartbeat_ms, signal, work);
  } catch (thrown) {
    const error = asWarehouseError(thrown);
    if (error.kind !== 'connection') throw thrown;
    return { kind: 'unreachable', error };
  } finally {
    release();
  }
};

const lead = async (
  client: Client,
  clock: Clock,
  heartbeat_ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<Term> => {
  const loss = connectionLoss(client);
  const silence = new AbortController();
  const lost = AbortSignal.any([loss.signal, silence.signal]);
  const stopBeating = beat(client, clock, heartbeat_ms, () =>
    silence.abort(
      new WarehouseError('connection', `The database gave no sign of life for ${HEARTBEAT_LIMIT_MS} ms.`),
    ),
  );
  try {
    await work(AbortSignal.any([signal, lost]));
  } catch (thrown) {
    // What fails because the connection is gone is no fault of its own.
    if (!lost.aborted) throw thrown;
  } finally {
    await stopBeating();
    loss.forget();
    if (!lost.aborted) await releaseAdvisoryLock(client, LEADER_LOCK).catch(() => undefined);
  }
  return { kind: 'led', lost: lost.aborted ? asWarehouseError(lost.reason) : null };
};

/** Asks for a sign of life again and again; returns how to end that, which waits for the question in hand. */
const beat = (
  client: Client,
  clock: Clock,
  heartbeat_ms: number,
  onSilence: () => void,
): (() => Promise<void>) => {
  let over = false;
  let asking: Promise<void> = Promise.resolve();
  const ask = async (): Promise<void> => {
    const alive = await answers(client, HEARTBEAT_LIMIT_MS);
    if (over) return;
    if (alive) next();
    else onSilence();
  };
  let callOff = (): void => undefined;
  const next = (): void => {
    callOff = clock.after(heartbeat_ms, () => {
      asking = ask();
    });
  };
  next();
  return async () => {
    over = true;
    callOff();
    await asking;
  };
};
