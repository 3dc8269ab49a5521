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
  readonly deaf: readonly string[];
}

/** Asks every node for every other one. */
const readHealth = async (pool: Pool): Promise<Health> => {
  const { rows } = await sql<Health>`
    select coalesce(array_agg(distinct format('%s:%s', to_nodename, to_nodeport)) filter (where result is not true), '{}') as deaf
      from citus_check_cluster_node_health()`.execute(on(pool));
  return rows[0] ?? { deaf: [] };
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
  const { deaf } = await readHealth(pool);
  return deaf.length === 0
    ? { check, state: 'ok', says }
    : {
        check,
        state: 'fault',
        says: `${says}; ${deaf.join(', ')} does not answer`,
        remedy: 'Start that node: what it had prepared is committed or rolled back by Citus within a minute.',
      };
};
