/** What `doctor` says of where the warehouse lies, and of the nodes of a cluster. */
import { sql } from 'kysely';
import { on, type Pool } from '../db/query.ts';
import type { Finding } from './finding.ts';
import { clusterOf } from './topology.ts';

/** Workers that this database coordinates, whether the warehouse lies on them or not. */
const workersOf = async (pool: Pool): Promise<number> => {
  const { rows } = await sql<{ there: boolean }>`
    select exists (select from pg_extension where extname = 'citus') as there`.execute(on(pool));
  if (rows[0]?.there !== true) return 0;
  const workers = await sql<{ workers: number }>`
    select count(*)::int as workers from pg_dist_node where groupid > 0 and noderole = 'primary'`.execute(
    on(pool),
  );
  return workers.rows[0]?.workers ?? 0;
};

interface Health {
  readonly user: string;
  /** Nodes that another one, or this one as the user, does not reach. */
  readonly deaf: readonly string[];
}

/** Counts on each node the shards that lie there without the functions of this version. */
const BARE = `
  select count(*) from pg_dist_shard s
   where s.logicalrelid = 'strata.shards'::regclass and to_regclass(shard_name(s.logicalrelid, s.shardid)) is not null
     and to_regproc(format('strata_shards.fold_deltas_%%s_%s', s.shardid)) is null`;

/** Asks every node for every other one; whom nobody could ask has no say. */
const readHealth = async (pool: Pool): Promise<Health> => {
  const { rows } = await sql<Health>`
    select current_user as "user",
           coalesce((select array_agg(distinct format('%s:%s', to_nodename, to_nodeport)) from citus_check_cluster_node_health() where not result), '{}') as deaf`.execute(
    on(pool),
  );
  return rows[0]!;
};

/** Shards that were moved and have not their functions yet. */
const countBare = async (pool: Pool): Promise<number> => {
  const { rows } = await sql<{ bare: number }>`
    select coalesce(sum(r.result::int) filter (where r.success), 0)::int as bare
      from run_command_on_all_nodes(format(${BARE}, (select max(s.stamp) from strata.shards s))) r`.execute(
    on(pool),
  );
  return rows[0]?.bare ?? 0;
};

/** Where the warehouse of a migrated database lies. */
export const checkCluster = async (pool: Pool): Promise<Finding> => {
  const check = 'topology';
  const cluster = await clusterOf(pool);
  if (cluster === null) {
    const workers = await workersOf(pool);
    return workers === 0
      ? { check, state: 'ok', says: 'one server' }
      : {
          check,
          state: 'warning',
          says: `one server, although this database coordinates ${workers} workers`,
          remedy: 'Run `pgstrata migrate` with topology: citus, or write topology: single.',
        };
  }
  const says = `citus: ${cluster.shards} shards on ${cluster.workers} workers`;
  const { user, deaf } = await readHealth(pool);
  if (deaf.length > 0)
    return {
      check,
      state: 'fault',
      says: `${says}; ${deaf.join(', ')} does not answer ${user}`,
      remedy: `Start that node: what it had prepared is committed or rolled back by Citus within a minute. Where it runs, let ${user} log in there: Citus asks its nodes as whoever asks (pg_hba.conf, pg_dist_authinfo).`,
    };
  const bare = await countBare(pool);
  return bare === 0
    ? { check, state: 'ok', says }
    : {
        check,
        state: 'warning',
        says: `${says}; ${bare} were moved and have not their functions yet`,
        remedy: 'Run `pgstrata migrate`: queries of all accounts fail until then, or until the next fold.',
      };
};
