/** What the database says of itself: streams, partitions, quarantine, what is amiss. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../db/query.ts';
import { readHistory, type HistoryStatus } from './backfill/status.ts';
import type { Alert } from './partitions/alerts.ts';
import { watchSets } from './partitions/watch.ts';
import { bytesOf, readShardSizes } from './shard-sizes.ts';
import { clusterOf, type Cluster } from './topology.ts';
import type { CatchUpHealth, HealthError, NotedReorg, StreamWork, WorkerSpan } from './stream-health.ts';

/** One network of one stream. */
export interface StreamStatus {
  readonly stream: string;
  /** Null before the first commit. */
  readonly network: string | null;
  readonly load: string | null;
  readonly target: string | null;
  /** `lost`: its process has said nothing for two minutes. Null where none ever said anything. */
  readonly state: 'running' | 'waiting' | 'stopped' | 'lost' | null;
  /** Last committed block; null before the first commit. */
  readonly position: number | null;
  readonly hash: string | null;
  /** Newest block the server has shown. */
  readonly head: number | null;
  readonly lag_blocks: number | null;
  /** Age of the newest loaded block, by the chain's own time; null where the server does not say it. */
  readonly lag_seconds: number | null;
  /** Of the last minute. */
  readonly rows_per_second: number | null;
  readonly blocks_per_second: number | null;
  /** Holes between committed ranges, and the blocks in them. */
  readonly gaps: number;
  readonly gap_blocks: number;
  /** What each worker is loading of the history, and has loaded; empty where the stream alone is at work. */
  readonly workers: readonly WorkerSpan[];
  /** Blocks of the history that are loaded, of those that were missing, and their rows; null when none is being loaded. */
  readonly catch_up: Pick<CatchUpHealth, 'done' | 'total' | 'rows'> | null;
  readonly batches: number;
  readonly rows: number;
  readonly quarantined: number;
  /** Rows loaded without one of their labels; null where the stream joins none. */
  readonly unmatched: number | null;
  readonly last_commit: string | null;
  /** Failed tries since the last commit. */
  readonly failures: number;
  /** Tries after a failure since its process started. */
  readonly retries: number;
  readonly next_try_at: string | null;
  readonly breaker: string | null;
  readonly rate_delay_ms: number;
  readonly last_error: HealthError | null;
  /** When its process last said something, and which one it is. */
  readonly seen_at: string | null;
  readonly host: string | null;
  readonly pid: number | null;
  /** When that process started, and what it has done since; null where none ever said anything. */
  readonly started_at: string | null;
  readonly work: Partial<StreamWork> | null;
  /** The newest first. */
  readonly reorgs: readonly NotedReorg[];
}

/** One managed set. */
export interface SetStatus {
  readonly set_name: string;
  readonly weeks: number;
  readonly leaves: number;
  readonly first_week: string | null;
  readonly covered_until: string | null;
  readonly bytes: number;
}

/** All of it. */
export interface WarehouseStatus {
  /** The cluster it lies on; null on one server. */
  readonly cluster: Cluster | null;
  readonly streams: readonly StreamStatus[];
  readonly sets: readonly SetStatus[];
  /** Weeks of history that are loaded beside the set. */
  readonly history: HistoryStatus;
  /** What the watch of the sets has found. */
  readonly alerts: readonly Alert[];
}

/** Whether a stream was stopped by an error; one that came to its end, or waits, is not. */
export const isStopped = ({ state, last_error }: Pick<StreamStatus, 'state' | 'last_error'>): boolean =>
  state === 'stopped' && last_error !== null;

const isoOf = (date: Date | null): string | null => date?.toISOString() ?? null;

const catchUpOf = (catchUp: CatchUpHealth | null): Pick<StreamStatus, 'workers' | 'catch_up'> => ({
  workers: catchUp?.workers ?? [],
  catch_up: catchUp === null ? null : { done: catchUp.done, total: catchUp.total, rows: catchUp.rows },
});

/** Each network of each stream; ledger reads only. */
export const readStreams = async (database: Pool | Client): Promise<StreamStatus[]> => {
  const rows = await on(database)
    .selectFrom('stream_status')
    .selectAll()
    .orderBy('stream')
    .orderBy('network')
    .execute();
  return rows.map((row) => ({
    stream: row.stream ?? '',
    network: row.network,
    load: row.load,
    target: row.target,
    state: row.state as StreamStatus['state'],
    position: row.position,
    hash: row.hash,
    head: row.head,
    lag_blocks: row.lag_blocks,
    lag_seconds: row.lag_seconds === null ? null : Math.round(row.lag_seconds),
    rows_per_second: row.rows_per_second,
    blocks_per_second: row.blocks_per_second,
    gaps: row.gaps ?? 0,
    gap_blocks: row.gap_blocks ?? 0,
    ...catchUpOf(row.catch_up as CatchUpHealth | null),
    batches: row.batches ?? 0,
    rows: row.row_count ?? 0,
    quarantined: row.quarantined ?? 0,
    unmatched: row.unmatched,
    last_commit: isoOf(row.last_commit),
    failures: row.failures ?? 0,
    retries: row.retries ?? 0,
    next_try_at: isoOf(row.next_try_at),
    breaker: row.breaker,
    rate_delay_ms: row.rate_delay_ms ?? 0,
    last_error: row.last_error as HealthError | null,
    seen_at: isoOf(row.seen_at),
    host: row.host,
    pid: row.pid,
    started_at: isoOf(row.started_at),
    work: row.work as StreamStatus['work'],
    reorgs: (row.reorgs as NotedReorg[] | null) ?? [],
  }));
};

/** Reads the status; a few catalog and ledger queries, no scan of what was loaded. */
export const readStatus = async (pool: Pool): Promise<WarehouseStatus> => {
  const streams = await readStreams(pool);
  const sizes = await readShardSizes(pool);
  const sets = await sql<SetStatus & { readonly partitions: readonly number[] }>`
    select s.set_name, count(p.partition)::int as weeks, coalesce(sum(p.leaves), 0)::int as leaves,
           to_char(min(p.lower_bound) at time zone 'UTC', 'YYYY-MM-DD') as first_week,
           to_char(max(p.upper_bound) at time zone 'UTC', 'YYYY-MM-DD') as covered_until,
           coalesce(sum((select sum(pg_total_relation_size(t.relid)) from pg_partition_tree(p.partition) t)), 0)::bigint as bytes,
           coalesce(json_agg(p.partition::oid::bigint) filter (where p.partition is not null), '[]') as partitions
      from strata.partition_sets s
      left join lateral strata.set_partitions(s.set_name) p on true
     group by s.set_name order by s.set_name`.execute(on(pool));
  return {
    cluster: await clusterOf(pool),
    streams,
    sets: sets.rows.map(({ partitions, ...set }) => ({
      ...set,
      bytes: sizes.size === 0 ? set.bytes : bytesOf(sizes, partitions),
    })),
    history: await readHistory(pool),
    alerts: await watchSets(pool),
  };
};
