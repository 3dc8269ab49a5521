/**
 * Keeps one stream loading, whatever happens around it: each failure that may pass is followed by a wait and a new start behind
 * the last commit, on new connections. Nothing is resumed in the middle: the ledger alone says what is loaded, also whether a
 * commit whose answer was lost took place.
 *
 * ```
 *   running ──commit──► running            failure ──► waiting ──► running
 *      │                                      │
 *      └── end, or asked to stop              └── permanent, or too often ──► stopped (the error)
 * ```
 */
import { randomBytes } from 'node:crypto';
import { endSessions, openSessions, watchSessions, type DatabaseAddress } from '../db/sessions.ts';
import { asWarehouseError } from '../db/errors.ts';
import type { FlightClient } from '../flight/client.ts';
import { paceClient } from '../flight/pace.ts';
import type { WarehouseError } from '../runtime/errors.ts';
import {
  afterFailure,
  breakerPause,
  createBreaker,
  createRate,
  FRESH,
  later,
  retryDelay,
  systemClock,
  type Breaker,
  type Clock,
  type Rate,
  type Resilience,
  type RetryState,
} from '../runtime/resilience.ts';
import { prospectOf } from '../runtime/transient.ts';
import type { StreamHealth } from '../warehouse/stream-health.ts';
import { connectionsFor } from './connections.ts';
import type { HealthLog } from './health.ts';
import { ingest } from './ingest.ts';
import { findHeads } from './load-blocks.ts';
import { afterPartition } from './catch-up-report.ts';
import { retryPartitions } from './partition-retry.ts';
import type { IngestEnd, IngestEvent, IngestOptions, IngestResult } from './run.ts';
import { addCommit, addReorg, countCommit, newTally, NO_WORK, type Tally } from './tally.ts';

/** How to keep a stream loading. */
export interface SuperviseOptions extends Omit<IngestOptions, 'pool' | 'client' | 'now' | 'retry'> {
  /** Where the database is; asked before each try, since an embedded one may have to be started again. */
  readonly database: () => Promise<DatabaseAddress>;
  /** A client for one try: its connection, certificates and token are as new as the try. */
  readonly connect: () => Promise<FlightClient>;
  readonly resilience: Resilience;
  readonly health: HealthLog;
  readonly clock?: Clock;
  /** Whether `connect` reads the token anew, so that a refused one may be followed by another. */
  readonly renewsToken?: boolean;
  /** Most connections to PostgreSQL at once; as many as {@link connectionsFor} the stream. */
  readonly connections?: number;
  /** How often connections to PostgreSQL are looked after, in milliseconds; 30,000. */
  readonly watchEvery_ms?: number;
}

/** What a supervised run did. */
export interface SupervisedResult extends IngestResult {
  /** Tries after a failure. */
  readonly retries: number;
}

/** How often a running stream says that it is alive, and asks where the head is. */
const HEARTBEAT_MS = 15_000;

/** A followed stream starts anew this often, so that what was fixed at its start, as the sane window of row times, is never old. */
const RENEW_MS = 3_600_000;

/** A try that has held so long has got on, even where the chain has nothing new. */
const SETTLED_MS = 60_000;

const WATCH_EVERY_MS = 30_000;

/** What changes while a stream is supervised. */
interface Course {
  retry: RetryState;
  health: StreamHealth;
  readonly tally: Tally;
  /** Sessions of the try before, which may still be there. */
  leftBehind: string | null;
}

/** The fixed parts of a supervised stream. */
interface Supervision {
  readonly options: SuperviseOptions;
  readonly clock: Clock;
  readonly breaker: Breaker;
  readonly rate: Rate;
  readonly course: Course;
  readonly say: (change: Partial<StreamHealth>) => void;
}

/**
 * Loads a stream to its end or, followed, until it is asked to stop. Not followed, it gives up after `retry.tries` failures in
 * a row; followed, it goes on for as long as the failures are of the kind that passes.
 *
 * @throws WarehouseError why it gave up; everything committed stays, and so does the position
 */
export const superviseStream = async (options: SuperviseOptions): Promise<SupervisedResult> => {
  const supervision = begin(options);
  const { course, say, clock } = supervision;
  const { stream, signal, follow, onEvent } = options;
  const finish = (end: IngestEnd): SupervisedResult => {
    say({ state: 'stopped', next_try_at: null, last_error: null });
    return { stream, end, ...course.tally, retries: course.health.retries };
  };
  for (;;) {
    const outcome = await tryOnce(supervision);
    if (outcome === 'renew') continue;
    if (typeof outcome === 'string') {
      if (signal.aborted) return finish('stopped');
      // A followed stream of which nothing is synced yet is neither at its end nor at fault.
      if (!follow || outcome !== 'nothing synced') return finish(outcome);
      await clock.sleep(options.resilience.retry.delay_ms, signal);
      if (signal.aborted) return finish('stopped');
      continue;
    }
    const next = afterFailure(course.retry, prospectOf(outcome), options.resilience.retry, {
      unattended: follow,
      renewsToken: options.renewsToken === true,
    });
    if (signal.aborted && (next !== null || outcome.kind === 'cancelled')) return finish('stopped');
    if (next === null) {
      say({ state: 'stopped', next_try_at: null, last_error: errorOf(outcome, clock) });
      onEvent({ kind: 'failed', stream, error: outcome });
      throw outcome;
    }
    course.retry = next;
    await waitAfter(supervision, outcome);
    if (signal.aborted) return finish('stopped');
  }
};

const begin = (options: SuperviseOptions): Supervision => {
  const { stream, onEvent, resilience, health, clock = systemClock } = options;
  const course: Course = {
    retry: FRESH,
    health: {
      stream,
      state: 'waiting',
      failures: 0,
      retries: 0,
      next_try_at: null,
      last_error: null,
      breaker: 'closed',
      rate_delay_ms: 0,
      heads: {},
      catch_up: null,
      started_at: new Date(clock.now()).toISOString(),
      work: NO_WORK,
      reorgs: [],
    },
    tally: newTally(),
    leftBehind: null,
  };
  const say = (change: Partial<StreamHealth>): void => {
    course.health = { ...course.health, ...change };
    health.note(course.health);
  };
  const breaker = createBreaker(resilience.breaker, (state) => {
    say({ breaker: state });
    onEvent({ kind: 'breaker', stream, state });
  });
  const rate = createRate(resilience.rate, (delay_ms) => {
    say({ rate_delay_ms: delay_ms });
    onEvent({ kind: 'slower', stream, delay_ms });
  });
  return { options, clock, breaker, rate, course, say };
};

const waitAfter = async (
  { options, clock, breaker, course, say }: Supervision,
  error: WarehouseError,
): Promise<void> => {
  const { stream, onEvent, signal, resilience } = options;
  const { failures } = course.retry;
  const delay_ms =
    breaker.state() === 'open'
      ? breakerPause(resilience.breaker, resilience.retry, clock.random)
      : retryDelay(failures, resilience.retry, clock.random);
  say({
    state: 'waiting',
    failures,
    next_try_at: new Date(clock.now() + delay_ms).toISOString(),
    last_error: errorOf(error, clock),
  });
  onEvent({ kind: 'retry', stream, error, failures, delay_ms });
  await clock.sleep(delay_ms, signal);
  say({ retries: course.health.retries + 1 });
};

const errorOf = (error: WarehouseError, clock: Clock): NonNullable<StreamHealth['last_error']> => ({
  kind: error.kind,
  message: error.message,
  sqlstate: error.detail.sqlstate ?? null,
  grpc_status: error.detail.grpcStatus ?? null,
  remedy: error.detail.remedy ?? null,
  at: new Date(clock.now()).toISOString(),
});

/** One try on connections of its own: how it ended, `renew` when it is only to start anew, or why it failed. */
const tryOnce = async (supervision: Supervision): Promise<IngestEnd | 'renew' | WarehouseError> => {
  const { options, clock, breaker } = supervision;
  const { stream, follow } = options;
  const over = new AbortController();
  const renew = new AbortController();
  const gotOn = Promise.withResolvers<void>();
  if (follow) {
    void later(clock, RENEW_MS, over.signal, () => renew.abort(new Error('the stream starts anew')));
  }
  const trying = load(supervision, {
    over: over.signal,
    stop: AbortSignal.any([options.signal, renew.signal]),
    gotOn: () => {
      settle(supervision);
      gotOn.resolve();
    },
  });
  const counted = breaker.watch(Promise.race([trying, gotOn.promise]));
  try {
    const { end } = await trying;
    return end === 'stopped' && renew.signal.aborted ? 'renew' : end;
  } catch (thrown) {
    return asWarehouseError(thrown, { stream });
  } finally {
    over.abort();
    await counted;
  }
};

/** The try has got on: failures count from the beginning again. */
const settle = ({ course, say, rate }: Supervision): void => {
  course.retry = FRESH;
  const { failures, last_error } = course.health;
  if (failures > 0 || last_error !== null)
    say({ state: 'running', failures: 0, last_error: null, rate_delay_ms: rate.delay_ms() });
};

interface Try {
  /** Aborts when the try has ended. */
  readonly over: AbortSignal;
  /** Ends it well. */
  readonly stop: AbortSignal;
  readonly gotOn: () => void;
}

const load = async (supervision: Supervision, { over, stop, gotOn }: Try): Promise<IngestResult> => {
  const { options, clock, course, rate } = supervision;
  const {
    stream,
    follow,
    connections = connectionsFor(options.config),
    watchEvery_ms = WATCH_EVERY_MS,
  } = options;
  const address = await options.database();
  const name = `pgstrata ${randomBytes(4).toString('hex')} ${stream}`; // no other try's, on no machine
  const sessions = openSessions(address, name, connections);
  const client = await options.connect();
  const told = (event: IngestEvent): void => {
    // Not before: a process that waits for the stream must not speak for the one that loads it.
    if (event.kind === 'begun') void beat(supervision, client, { over, stop, gotOn });
    note(supervision, event);
    if (event.kind === 'committed') gotOn();
    options.onEvent(event);
  };
  try {
    void watchSessions(sessions, address, { every_ms: watchEvery_ms, clock }, over);
    if (course.leftBehind !== null) await endSessions(sessions.pool, course.leftBehind);
    course.leftBehind = sessions.name;
    const result = await ingest({
      ...options,
      signal: stop,
      pool: sessions.pool,
      client: paceClient(client, rate, clock),
      retry: retryPartitions({
        stream,
        settings: options.resilience.retry,
        clock,
        signal: stop,
        onEvent: told,
      }),
      // Fixed for this try, so as late as it may last: a row of the present is never taken for one of the future.
      now: new Date(clock.now() + (follow ? RENEW_MS : 0)),
      onEvent: told,
    });
    await sessions.end();
    course.leftBehind = null;
    return result;
  } finally {
    client.close();
    sessions.cut();
  }
};

/** Adds an event to the totals, and to what is known of the heads. */
const note = ({ course, say, clock }: Supervision, event: IngestEvent): void => {
  const { tally, health } = course;
  if (event.kind === 'head') say({ heads: { ...health.heads, [event.network]: event.block } });
  if (event.kind === 'reorg') {
    tally.reorgs++;
    say(addReorg(health, event, new Date(clock.now())));
  }
  if (event.kind === 'committed') {
    countCommit(tally, event.result);
    // Written with the next word the stream has to say: commits can be many.
    course.health = { ...health, work: addCommit(health.work, event.result) };
  }
  // Of a partition; its stream goes on.
  if (event.kind === 'retry') say({ retries: course.health.retries + 1 });
  if (event.kind === 'partition' || event.kind === 'catch-up')
    say({ catch_up: afterPartition(course.health.catch_up, event) });
};

/** Says now and then that the stream is alive and where the head is; a try that has held long enough has got on. */
const beat = async (
  supervision: Supervision,
  client: FlightClient,
  { over, stop, gotOn }: Try,
): Promise<void> => {
  const { options, clock, say } = supervision;
  const started = clock.now();
  const asks = options.follow && options.serverKind === 'amp';
  say({ state: 'running', next_try_at: null, catch_up: null });
  while (!over.aborted) {
    if (asks) {
      const signal = AbortSignal.any([over, stop]);
      // Where the head is not to be had the stream itself will say why.
      const heads = await findHeads({ ...options, client, signal }).catch(() => null);
      for (const [network, { number: block }] of heads ?? [])
        note(supervision, { kind: 'head', stream: options.stream, network, block });
    }
    await clock.sleep(HEARTBEAT_MS, over);
    if (over.aborted) return;
    if (clock.now() - started >= SETTLED_MS) gotOn();
    say({ state: 'running', rate_delay_ms: supervision.rate.delay_ms() });
  }
};
