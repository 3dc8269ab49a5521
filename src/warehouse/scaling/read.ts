/** What `plan-topology` answers, of one machine or of a cluster: read in one snapshot that nothing can be written in. */
import { createReader } from '../../db/reader.ts';
import { withTransaction } from '../../db/pool.ts';
import type { Pool } from '../../db/query.ts';
import {
  adviseCluster,
  isCluster,
  readClusterFacts,
  type ClusterAdvice,
  type ClusterFacts,
} from './cluster.ts';
import { readTopologyFacts } from './facts.ts';
import { adviseTopology, type Advice, type Machine, type Outlook } from './judge.ts';
import { planMigration, type Way } from './migration.ts';
import type { MigrationStep } from './migration-step.ts';

/** The answer. */
export type TopologyPlan =
  | ({
      readonly topology: 'single';
      readonly machine: Machine;
      readonly migration: readonly MigrationStep[];
    } & Advice)
  | ({ readonly topology: 'citus' } & ClusterFacts & ClusterAdvice);

/** Sizes of thousands of leaves, and a sample. */
const LIMIT_MS = 60_000;

/** Reads and judges; changes nothing. */
export const planTopology = async (
  pool: Pool,
  machine: Machine,
  outlook: Outlook,
  way: Way,
): Promise<TopologyPlan> => {
  // The reader role may not log in to workers: on a cluster the caller reads as itself.
  const cluster = await withTransaction(
    pool,
    async (client) => {
      if (!(await isCluster(client))) return null;
      await client.query(`set local statement_timeout = ${LIMIT_MS}`);
      return readClusterFacts(client);
    },
    { isolation: 'repeatable read', readOnly: true },
  );
  if (cluster !== null) return { topology: 'citus', ...cluster, ...adviseCluster(cluster) };
  const facts = await createReader(pool).read((client) => readTopologyFacts(client), LIMIT_MS);
  const advice = adviseTopology(facts, machine, outlook);
  const { workers, shards } = advice;
  return {
    topology: 'single',
    machine,
    ...advice,
    migration: planMigration(facts, { way, workers, shards, now: outlook.now }),
  };
};
