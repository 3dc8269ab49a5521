/** Where the warehouse lies: on one server, or on the nodes of a Citus cluster. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../db/query.ts';

/** `single`, or `citus` once `pgstrata migrate` has put it on a cluster. */
export type Topology = 'single' | 'citus';

/** What a cluster consists of. */
export interface Cluster {
  readonly workers: number;
  readonly shards: number;
}

/** Shards of the warehouse and the workers they lie on; null on one server. */
export const clusterOf = async (pool: Pool): Promise<Cluster | null> => {
  if ((await topologyOf(pool)) === 'single') return null;
  const { rows } = await sql<Cluster>`
    select count(*)::int as shards, count(distinct p.groupid)::int as workers
      from pg_dist_shard s join pg_dist_placement p on p.shardid = s.shardid
     where s.logicalrelid = 'strata.shards'::regclass`.execute(on(pool));
  return rows[0] ?? null;
};

/** What the database says of itself. */
export const topologyOf = async (database: Client | Pool): Promise<Topology> => {
  const { rows } = await sql<{ topology: Topology }>`select strata.topology() as topology`.execute(
    on(database),
  );
  return rows[0]?.topology ?? 'single';
};
