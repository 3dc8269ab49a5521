/** Which shards of a cluster the running transaction has opened: asked of the nodes, by the locks of the sessions that work for it there. */
import { sql } from 'kysely';
import { on, type Client } from '../../db/query.ts';
import type { TouchedPartitions } from './touched.ts';

/** Shards that were asked, of all of them, and the nodes they lie on. */
export interface AskedShards {
  readonly asked: number;
  readonly shards: number;
  readonly nodes: number;
}

/** What each node is asked. A shard's name ends in its number. */
const ON_NODE = `
  select coalesce(json_agg(json_build_array(t.relation, t.place)), '[]') from (
    select distinct format('%%I.%%I', n.nspname, l.relname) as relation, s.shardminvalue as place
      from get_all_active_transactions() a
      join pg_locks k on k.pid = a.process_id and k.locktype = 'relation'
      join pg_class c on c.oid = k.relation and c.relkind in ('r', 'p')
      join pg_dist_shard s on s.shardid = substring(c.relname from '_(\\d{1,18})$')::bigint
      join pg_dist_partition d on d.logicalrelid = s.logicalrelid and d.partmethod = 'h'
      join pg_class l on l.oid = s.logicalrelid
      join pg_namespace n on n.oid = l.relnamespace
     where a.global_pid = %s) t`;

const LOCKED = sql`
  select r.nodeid, to_regclass(l.row ->> 0)::oid as relation, l.row ->> 1 as place
    from run_command_on_all_nodes(format(${ON_NODE}, citus_backend_gpid())) r
   cross join lateral json_array_elements(case when r.success then r.result::json else '[]'::json end) as l(row)`;

/** The shards of each week of each set, of the state and of the openings. */
export const readTouchedShards = async (client: Client): Promise<readonly TouchedPartitions[]> => {
  const { rows } = await sql<TouchedPartitions>`
    with locked as (${LOCKED}), places as (
      select count(*)::int as shards from pg_dist_shard where logicalrelid = 'strata.shards'::regclass
    ), roots as (
      select p.relname as relation, w.partition::oid as part, w.lower_bound
        from strata.partition_sets s join pg_class p on p.oid = s.parent cross join lateral strata.set_partitions(s.set_name) w
       where strata.is_distributed(s.parent)
      union all
      select p.relname, p.oid, null from pg_class p
       where p.oid in ('strata.account_balances_current'::regclass, 'strata.account_balances_opening'::regclass)
    )
    select r.relation, to_char(r.lower_bound at time zone 'UTC', 'YYYY-MM-DD') as week,
           case when m.amname = 'columnar' then 'columnar' else 'sharded' end as kind,
           (select count(distinct l.place)::int from locked l where l.relation = r.part) as touched, places.shards as partitions
      from roots r
      cross join places
      join pg_class c on c.oid = r.part
      left join pg_am m on m.oid = c.relam
     order by r.relation, r.lower_bound`.execute(on(client));
  return rows;
};

/** How many shards were asked for anything at all. */
export const readAskedShards = async (client: Client): Promise<AskedShards> => {
  const { rows } = await sql<AskedShards>`
    with locked as (${LOCKED})
    select (select count(distinct place)::int from locked) as asked, (select count(distinct nodeid)::int from locked) as nodes,
           (select count(*)::int from pg_dist_shard where logicalrelid = 'strata.shards'::regclass) as shards`.execute(
    on(client),
  );
  return rows[0]!;
};

/** The same in a line. */
export const askedInWords = ({ asked, shards, nodes }: AskedShards): string =>
  `${asked} of ${shards} shards were asked, on ${nodes} ${nodes === 1 ? 'node' : 'nodes'}`;
