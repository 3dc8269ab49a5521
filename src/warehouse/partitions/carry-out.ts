/**
 * Carries out the statements of a step as its plan has them: alone where PostgreSQL demands it, else in one transaction; with
 * bounded waits for locks, so that whoever queues behind us is let through between two tries.
 */
import { cancelStatement } from '../../db/cancel.ts';
import { asWarehouseError } from '../../db/errors.ts';
import type { Client } from '../../db/query.ts';
import { WarehouseError, withDetail } from '../../runtime/errors.ts';
import type { Step } from './plan.ts';
import { isLocked, whileLocked, type Attempts } from './while-locked.ts';

/** How long to want a lock, in milliseconds, and how often. */
export interface Patience extends Attempts {
  readonly lockWait_ms: number;
}

/** For locks that others hold for a moment: below PostgreSQL's deadlock_timeout of a second. */
export const BRIEF: Patience = { lockWait_ms: 800, pause_ms: 200, attempts: 30 };

/** For the lock of the fold: a load holds it while it folds, and the queue for it is fair. */
export const FOLD: Patience = { lockWait_ms: 60_000, pause_ms: 1_000, attempts: 5 };

/** What PostgreSQL refuses inside a transaction. */
const ALONE = /^(vacuum|analyze|alter table .+ detach partition .+ (concurrently|finalize)$)/i;

/** A row of the last statement of a step. */
export type ResultRow = Readonly<Record<string, unknown>>;

/**
 * Carries out a step.
 *
 * @returns the first row of its last statement
 * @throws WarehouseError `conflict` when a lock was not to be had, `cancelled` when the signal aborted; nothing of a
 *   transaction is left then
 */
export const carryOut = (
  client: Client,
  step: Pick<Step, 'name' | 'sql'>,
  patience: Patience,
  signal: AbortSignal,
): Promise<ResultRow | undefined> =>
  persist(step.name, patience, signal, () => runStatements(client, step.sql, patience.lockWait_ms, signal));

/** Runs statements once; an abort of the signal cancels the one that is running. */
export const runStatements = async (
  client: Client,
  statements: readonly string[],
  lockWait_ms: number,
  signal: AbortSignal,
): Promise<ResultRow | undefined> => {
  const cancel = (): void => void cancelStatement(client);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    return statements.some((statement) => ALONE.test(statement))
      ? await oneByOne(client, statements, lockWait_ms)
      : await inTransaction(client, statements, lockWait_ms);
  } finally {
    signal.removeEventListener('abort', cancel);
  }
};

const oneByOne = async (
  client: Client,
  statements: readonly string[],
  lockWait_ms: number,
): Promise<ResultRow | undefined> => {
  await client.query("select set_config('lock_timeout', $1, false)", [`${lockWait_ms}ms`]);
  try {
    let last: ResultRow | undefined;
    for (const statement of statements) last = (await client.query<ResultRow>(statement)).rows[0];
    return last;
  } finally {
    await client.query("select set_config('lock_timeout', '0', false)").catch(() => undefined);
  }
};

/** Tries again while only a lock is missing. @throws WarehouseError what `attempt` failed with in the end */
export const persist = async <T>(
  name: string,
  patience: Attempts,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> => {
  try {
    return await whileLocked(patience, signal, attempt);
  } catch (thrown) {
    const error = asWarehouseError(thrown);
    if (signal.aborted && error.kind !== 'connection') throw stopped(name, signal, error);
    if (!isLocked(thrown)) throw error;
    throw withDetail(error, {
      remedy: `Somebody held a lock through ${patience.attempts} tries of "${name}": look for long transactions in pg_stat_activity, then run it again.`,
    });
  }
};

const stopped = (name: string, { reason }: AbortSignal, cause: unknown): WarehouseError =>
  reason instanceof WarehouseError
    ? reason
    : new WarehouseError(
        'cancelled',
        `stopped in the step "${name}"; the next run goes on from there`,
        {},
        cause,
      );

const inTransaction = async (
  client: Client,
  statements: readonly string[],
  lockWait_ms: number,
): Promise<ResultRow | undefined> => {
  await client.query('begin');
  try {
    await client.query(`set local lock_timeout = ${lockWait_ms}`);
    let last: ResultRow | undefined;
    for (const statement of statements) last = (await client.query<ResultRow>(statement)).rows[0];
    await client.query('commit');
    return last;
  } catch (thrown) {
    await client.query('rollback').catch(() => undefined);
    throw thrown;
  }
};
