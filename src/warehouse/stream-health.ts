/** What a process says of the streams it loads, where `status` on any machine can read it. */
import { sql } from 'kysely';
import { on, type Pool } from '../db/query.ts';
import type { BreakerState } from '../runtime/resilience.ts';

/** The newest failure of a stream; holds no secret. */
export interface HealthError {
  readonly kind: string;
  readonly message: string;
  readonly sqlstate: string | null;
  readonly grpc_status: string | null;
  readonly remedy: string | null;
  /** ISO instant. */
  readonly at: string;
}

/** Upper ends of the classes that times are counted in, in seconds; one class more takes what is longer. */
export const TIME_EDGES_SECONDS = [
  0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const;

/** What a process has done for a stream since it started: sums and counts, which only grow. */
export interface StreamWork {
  readonly rows: number;
  readonly batches: number;
  readonly commits: number;
  /** Sent to PostgreSQL while rows were written. */
  readonly bytes: number;
  readonly copy_seconds: number;
  readonly fold_seconds: number;
  readonly commit_seconds: number;
  /** Transactions by the time that each part took, a count for each class of {@link TIME_EDGES_SECONDS}. */
  readonly copy_times: readonly number[];
  readonly fold_times: readonly number[];
  readonly commit_times: readonly number[];
  readonly reorgs: number;
}

/** A reorg that was taken back. */
export interface NotedReorg {
  readonly network: string;
  /** The first block that left the chain. */
  readonly from: number;
  readonly rows: number;
  /** ISO instant. */
  readonly at: string;
}

/** What a worker has loaded since the catch-up began. */
export interface WorkerTally {
  readonly partitions: number;
  /** Rows of the server. */
  readonly rows: number;
}

/** Blocks that a worker is loading, `from` up to, but without, `to`; and what it has loaded before. */
export interface WorkerSpan extends WorkerTally {
  /** Counted from 1. */
  readonly worker: number;
  readonly from: number;
  readonly to: number;
}

/** How far history is that is loaded in partitions, behind the live stream or before it. */
export interface CatchUpHealth {
  readonly network: string;
  /** Blocks loaded, of those that were missing when it began. */
  readonly done: number;
  readonly total: number;
  /** Rows of the server in them. */
  readonly rows: number;
  /** Those that are at work. */
  readonly workers: readonly WorkerSpan[];
}

/** One stream, as its process sees it. */
export interface StreamHealth {
  readonly stream: string;
  readonly state: 'running' | 'waiting' | 'stopped';
  /** Failed tries since the last commit. */
  readonly failures: number;
  /** Tries after a failure since the process started. */
  readonly retries: number;
  /** ISO instant; null unless waiting. */
  readonly next_try_at: string | null;
  readonly last_error: HealthError | null;
  readonly breaker: BreakerState;
  readonly rate_delay_ms: number;
  /** Newest block the server has shown, by network. */
  readonly heads: Readonly<Record<string, number>>;
  /** Null when no history is being loaded. */
  readonly catch_up: CatchUpHealth | null;
  /** ISO instant. */
  readonly started_at: string;
  readonly work: StreamWork;
  /** The newest first, ten at most. */
  readonly reorgs: readonly NotedReorg[];
}

/** Who says so. */
export interface Reporter {
  readonly host: string;
  readonly pid: number;
}

/**
 * Writes what is known of some streams. A process that waits for a stream does not write over one that loads it: that is,
 * over another one's `running` of the last minute.
 */
export const writeHealth = async (
  pool: Pool,
  { host, pid }: Reporter,
  streams: readonly StreamHealth[],
): Promise<void> => {
  // Always in the same order, so that two processes that write the same streams cannot lock each other out.
  const records = streams.toSorted((a, b) => (a.stream < b.stream ? -1 : 1));
  await sql`
    insert into strata.stream_health as known (stream, state, failures, retries, next_try_at, last_error, breaker,
                                               rate_delay_ms, heads, catch_up, started_at, work, reorgs, host, pid)
    select stream, state, failures, retries, next_try_at, last_error, breaker, rate_delay_ms, heads, catch_up, started_at, work, reorgs, ${host}, ${pid}::int
      from jsonb_populate_recordset(null::strata.stream_health, ${JSON.stringify(records)}::jsonb)
    on conflict (stream) do update set
      (state, failures, retries, next_try_at, last_error, breaker, rate_delay_ms, heads, catch_up, started_at, work, reorgs, host, pid, updated_at) =
      (excluded.state, excluded.failures, excluded.retries, excluded.next_try_at, excluded.last_error, excluded.breaker,
       excluded.rate_delay_ms, known.heads || excluded.heads, excluded.catch_up, excluded.started_at, excluded.work,
       -- A process that has met none yet does not hide those of the one before it.
       case when excluded.reorgs = '[]' then known.reorgs else excluded.reorgs end, excluded.host, excluded.pid, clock_timestamp())
    where excluded.state = 'running' or (known.host, known.pid) = (excluded.host, excluded.pid)
       or known.state <> 'running' or known.updated_at < now() - interval '1 minute'`.execute(on(pool));
};
