/** Bytes and rows of tables that lie in the shards of a cluster, asked of all nodes at once: the coordinator's own tables are empty. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../db/query.ts';
import { literal } from '../db/quote.ts';
import { topologyOf } from './topology.ts';

/** One table in all its shards. */
export interface ShardedTable {
  readonly relation: number;
  readonly heap_bytes: number;
  readonly index_bytes: number;
  /** The largest shard, indexes included. */
  readonly largest_bytes: number;
  /** As of the last ANALYZE of each shard; null where one had none. */
  readonly rows: number | null;
  readonly pages: number;
  readonly visible_pages: number;
}

/** What each node is asked: for the shards that it holds itself. */
const onNode = (parent: string | null): string => `
  select coalesce(json_agg(t), '[]') from (
    select format('%I.%I', n.nspname, l.relname) as relation, sum(pg_table_size(c.oid)) as heap_bytes, sum(pg_indexes_size(c.oid)) as index_bytes,
           max(pg_total_relation_size(c.oid)) as largest_bytes, case when min(c.reltuples) >= 0 then sum(c.reltuples)::bigint end as rows,
           sum(c.relpages) as pages, sum(c.relallvisible) as visible_pages
      from pg_dist_shard s
      join pg_dist_partition d using (logicalrelid)
      join pg_class l on l.oid = s.logicalrelid
      join pg_namespace n on n.oid = l.relnamespace
      join pg_class c on c.oid = to_regclass(shard_name(s.logicalrelid, s.shardid))
     where d.partmethod = 'h'${parent === null ? '' : ` and s.logicalrelid in (select inhrelid from pg_inherits where inhparent = ${literal(parent)}::regclass)`}
     group by n.nspname, l.relname) t`;

/**
 * Every distributed table by its oid; none on one server. A node that does not answer counts for nothing: `doctor` names it.
 *
 * @param parent only partitions of this table: schema-qualified and quoted where needed
 */
export const readShardSizes = async (
  database: Pool | Client,
  parent: string | null = null,
): Promise<ReadonlyMap<number, ShardedTable>> => {
  if ((await topologyOf(database)) === 'single') return new Map();
  const { rows } = await sql<ShardedTable>`
    select to_regclass(t.relation)::oid::bigint as relation, sum(t.heap_bytes)::bigint as heap_bytes, sum(t.index_bytes)::bigint as index_bytes,
           max(t.largest_bytes) as largest_bytes, case when bool_and(t.rows is not null) then sum(t.rows)::bigint end as rows,
           sum(t.pages)::bigint as pages, sum(t.visible_pages)::bigint as visible_pages
      from run_command_on_all_nodes(${onNode(parent)}) r
     cross join lateral json_to_recordset(case when r.success then r.result::json else '[]'::json end)
        as t(relation text, heap_bytes bigint, index_bytes bigint, largest_bytes bigint, rows bigint, pages bigint, visible_pages bigint)
     where to_regclass(t.relation) is not null
     group by 1`.execute(on(database));
  return new Map(rows.map((row) => [row.relation, row]));
};

/** Bytes of some tables in all their shards. */
export const bytesOf = (sizes: ReadonlyMap<number, ShardedTable>, relations: readonly number[]): number =>
  relations.reduce((sum, relation) => {
    const size = sizes.get(relation);
    return sum + (size === undefined ? 0 : size.heap_bytes + size.index_bytes);
  }, 0);
