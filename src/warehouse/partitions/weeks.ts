/** The partitions of a managed set as they are: read from the catalog, never from names. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';
import { readShardSizes, type ShardedTable } from '../shard-sizes.ts';

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

/** Every partition of the set in time order, on a cluster with what lies in the shards; catalog reads only. An unknown set has none. */
export const readWeeks = async (database: Pool | Client, set: string): Promise<readonly WeekInfo[]> => {
  const { rows } = await sql<WeekInfo & { readonly parent: string }>`
    select format('%I.%I', pn.nspname, p.relname) as parent, w.partition::oid as oid, format('%I.%I', n.nspname, c.relname) as qualified, w.partition_name as name,
           case when isfinite(w.lower_bound) then w.lower_bound end as lower,
           case when isfinite(w.upper_bound) then w.upper_bound end as upper,
           w.kind, w.leaves, w.row_estimate as rows, w.heap_bytes, w.index_bytes, w.total_bytes, w.pages, w.visible_pages,
           w.detach_pending
      from strata.week_info(${set}) w
      join pg_class c on c.oid = w.partition
      join pg_namespace n on n.oid = c.relnamespace
      join strata.partition_sets s on s.set_name = ${set}
      join pg_class p on p.oid = s.parent
      join pg_namespace pn on pn.oid = p.relnamespace`.execute(on(database));
  const sharded = rows.find(({ kind }) => liesInShards(kind));
  const sizes = sharded === undefined ? null : await readShardSizes(database, sharded.parent);
  return rows.map(({ parent: _parent, ...week }) => inShards(week, sizes?.get(week.oid)));
};

/** The one set whose rows are only added, so that old weeks may be stored by column: balances of all later weeks change with a late row. */
export const STORED_BY_COLUMN = 'balance_changes';

/** Whether a week can be stored by column here: only a superuser may create that extension, whoever's function asks for it. */
export const columnarAtHand = sql<boolean>`(exists (select from pg_extension where extname = 'citus_columnar')
  or exists (select from pg_available_extensions where name = 'citus_columnar')
     and (select r.rolsuper from pg_roles r where r.oid = (select p.proowner from pg_proc p where p.oid = to_regproc('strata.store_week'))))`;

/** Whether the rows of such a week are in the shards of a cluster. */
export const liesInShards = (kind: WeekKind): boolean => kind === 'sharded' || kind === 'columnar';

const inShards = (week: WeekInfo, shards: ShardedTable | undefined): WeekInfo => {
  if (shards === undefined) return week;
  const { rows, heap_bytes, index_bytes, pages, visible_pages } = shards;
  return {
    ...week,
    rows,
    heap_bytes,
    index_bytes,
    total_bytes: heap_bytes + index_bytes,
    pages,
    visible_pages,
  };
};
