/** The partitions of a managed set as they are: read from the catalog, never from names. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';

/** What a partition of a set is; all but the first three are left alone by maintenance. */
export type WeekKind =
  | 'hash'
  | 'list'
  | 'consolidated'
  | 'sharded'
  | 'columnar'
  | 'odd'
  | 'default'
  | 'foreign';

/** One partition of a set. */
export interface WeekInfo {
  readonly oid: number;
  /** Schema-qualified and quoted where needed, ready to stand in SQL. */
  readonly qualified: string;
  readonly name: string;
  /** First instant and the instant behind the last; null for a partition that is no plain range. */
  readonly lower: Date | null;
  readonly upper: Date | null;
  readonly kind: WeekKind;
  readonly leaves: number;
  /** As of the last ANALYZE; null before it. */
  readonly rows: number | null;
  readonly heap_bytes: number;
  readonly index_bytes: number;
  readonly total_bytes: number;
  readonly pages: number;
  readonly visible_pages: number;
  /** A DETACH CONCURRENTLY was interrupted: its rows are invisible until somebody finalizes it. */
  readonly detach_pending: boolean;
}

/** Every partition of the set in time order; catalog reads only. An unknown set has none. */
export const readWeeks = async (database: Pool | Client, set: string): Promise<readonly WeekInfo[]> => {
  const { rows } = await sql<WeekInfo>`
    select w.partition::oid as oid, format('%I.%I', n.nspname, c.relname) as qualified, w.partition_name as name,
           case when isfinite(w.lower_bound) then w.lower_bound end as lower,
           case when isfinite(w.upper_bound) then w.upper_bound end as upper,
           w.kind, w.leaves, w.row_estimate as rows, w.heap_bytes, w.index_bytes, w.total_bytes, w.pages, w.visible_pages,
           w.detach_pending
      from strata.week_info(${set}) w
      join pg_class c on c.oid = w.partition
      join pg_namespace n on n.oid = c.relnamespace`.execute(on(database));
  return rows;
};
