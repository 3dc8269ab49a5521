/** What the database says of itself: streams, partitions, quarantine, what is amiss. */
import { sql } from 'kysely';
import { on, type Pool } from '../db/query.ts';
import type { Alert } from './partitions/alerts.ts';
import { watchSets } from './partitions/watch.ts';

/** One network of one stream. */
export interface StreamStatus {
  readonly stream: string;
  readonly network: string | null;
  readonly load: string;
  readonly target: string;
  /** Last committed block; null before the first commit. */
  readonly position: number | null;
  readonly hash: string | null;
  readonly batches: number;
  readonly rows: number;
  readonly quarantined: number;
  /** Rows loaded without one of their labels; null where the stream joins none. */
  readonly unmatched: number | null;
  readonly last_commit: string | null;
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
  readonly streams: readonly StreamStatus[];
  readonly sets: readonly SetStatus[];
  /** What the watch of the sets has found. */
  readonly alerts: readonly Alert[];
}

/** Reads the status; a few catalog and ledger queries, no table scans. */
export const readStatus = async (pool: Pool): Promise<WarehouseStatus> => {
  const streams = await on(pool)
    .selectFrom('stream_positions')
    .selectAll()
    .orderBy('stream')
    .orderBy('network')
    .execute();
  const sets = await sql<SetStatus>`
    select s.set_name, count(p.partition)::int as weeks, coalesce(sum(p.leaves), 0)::int as leaves,
           to_char(min(p.lower_bound) at time zone 'UTC', 'YYYY-MM-DD') as first_week,
           to_char(max(p.upper_bound) at time zone 'UTC', 'YYYY-MM-DD') as covered_until,
           coalesce(sum((select sum(pg_total_relation_size(t.relid)) from pg_partition_tree(p.partition) t)), 0)::bigint as bytes
      from strata.partition_sets s
      left join lateral strata.set_partitions(s.set_name) p on true
     group by s.set_name order by s.set_name`.execute(on(pool));
  return {
    streams: streams.map((row) => ({
      stream: row.stream ?? '',
      network: row.network,
      load: row.load ?? '',
      target: row.target ?? '',
      position: row.position,
      hash: row.hash,
      batches: row.batches ?? 0,
      rows: row.row_count ?? 0,
      quarantined: row.quarantined ?? 0,
      unmatched: row.unmatched,
      last_commit: row.last_commit?.toISOString() ?? null,
    })),
    sets: sets.rows,
    alerts: await watchSets(pool),
  };
};
