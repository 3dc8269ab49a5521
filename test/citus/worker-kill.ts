/** Kills a worker of a cluster with SIGKILL in the middle of a transaction, and waits until it is whole again. */
import type { PoolClient } from 'pg';
import { Client } from 'pg';
import { expect } from 'vitest';
import { asWarehouseError } from '../../src/db/errors.ts';
import type { Pool } from '../../src/db/query.ts';
import { prospectOf } from '../../src/runtime/transient.ts';
import type { Crash } from '../balances/crash.ts';
import type { Disaster } from '../balances/play.ts';
import { until } from '../db/until.ts';
import { nodeUrl, workersOf } from './cluster.ts';
import type { Worker } from './postmaster.ts';

type Query = (...args: unknown[]) => unknown;

/** A process of the worker that dies by SIGKILL takes all others with it: its server recovers from its log, as after a power cut. */
const killWorker = async (url: string): Promise<void> => {
  const [worker] = await workersOf(url);
  if (worker === undefined) throw new Error('the cluster has no worker');
  const client = new Client({ connectionString: nodeUrl(url, worker, new URL(url).pathname.slice(1)) });
  client.on('error', () => undefined);
  await client.connect();
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  process.kill(rows[0]!.pid, 'SIGKILL');
  await client.end().catch(() => undefined);
};

/** The next transaction of the pool meets a killed worker: before a statement, or (`sent`) while it runs. */
const strike = (
  kill: () => Promise<void>,
  pool: Pool,
  { at, sent }: Crash,
  struck: { kills: number },
): Pool => {
  let statements = 0;
  const connect = async (): Promise<PoolClient> => {
    const client = await pool.connect();
    const query = client.query.bind(client) as Query;
    const release = client.release.bind(client);
    const counted: Query = async (...args) => {
      statements += 1;
      if (statements !== at) return query(...args);
      struck.kills += 1;
      if (!sent) {
        await kill();
        return query(...args);
      }
      const answer = Promise.resolve(query(...args));
      answer.catch(() => undefined);
      await kill();
      return answer;
    };
    const disarmed: PoolClient['release'] = () => {
      Reflect.deleteProperty(client, 'query');
      release(true); // its connections to the worker are dead
    };
    Object.assign(client, { query: counted, release: disarmed });
    return client;
  };
  return Object.create(pool, {
    connect: { value: (callback?: never) => (callback === undefined ? connect() : pool.connect(callback)) },
  }) as Pool;
};

/** Waits for the worker, and has Citus end what it had prepared. */
export const recoverCluster = async (url: string): Promise<void> => {
  await until('the worker to come back', async () => {
    const client = new Client({ connectionString: url, application_name: 'pgstrata test recovery' });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query('select recover_prepared_transactions()');
      await client.query('select count(*) from strata.shards');
      return true;
    } catch {
      return false;
    } finally {
      await client.end().catch(() => undefined);
    }
  });
};

/** A fault for a player, and how often it struck. */
export type WorkerDisaster = Disaster & { readonly struck: { kills: number } };

const disasterOf = (kill: () => Promise<void>, recover: Disaster['recover']): WorkerDisaster => {
  const struck = { kills: 0 };
  return { struck, strike: (pool, crash) => strike(kill, pool, crash, struck), recover };
};

/** One process of the worker dies, and its server starts itself again at once. */
export const killedWorker = (url: () => string): WorkerDisaster =>
  disasterOf(
    () => killWorker(url()),
    () => recoverCluster(url()),
  );

/** The whole server of the worker dies, and comes back when what it did to the load is known: a fault that may pass. */
export const killedServer = (url: () => string, worker: () => Worker): WorkerDisaster =>
  disasterOf(
    () => worker().kill(),
    async (thrown) => {
      await worker().restart();
      await recoverCluster(url());
      if (thrown !== undefined)
        expect(['transient', 'doubtful']).toContain(prospectOf(asWarehouseError(thrown)));
    },
  );
