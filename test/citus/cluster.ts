/** Databases on a Citus cluster: each is a clone, on every node, of one that was migrated once. */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, globSync } from 'node:fs';
import type { Client } from 'pg';
import { describe } from 'vitest';
import { MIGRATIONS_FOLDER, migrate } from '../../src/db/migrate.ts';
import { useSource, type DatabaseSource } from '../database.ts';
import { databaseUrl, withConnection } from '../postgres.ts';

/** Shards of the test databases: two on each of two workers. */
export const SHARDS = 4;

/** One at a time makes the template or clones it. */
const LOCK_KEY = 7_265_002;

/** A node of the cluster by its address. */
export interface ClusterNode {
  readonly host: string;
  readonly port: number;
}

/** The URL of a database on a node, with the user of another one. */
export const nodeUrl = (url: string, { host, port }: ClusterNode, database: string): string => {
  const other = new URL(databaseUrl(url, database));
  other.hostname = host;
  other.port = String(port);
  return other.toString();
};

/** The workers that the database of this URL knows. */
export const workersOf = (url: string): Promise<readonly ClusterNode[]> =>
  withConnection(url, async (client) => {
    const { rows } = await client.query<ClusterNode>(
      'select node_name as host, node_port::int as port from citus_get_active_worker_nodes() order by 1, 2',
    );
    return rows;
  });

/** Migrations and shards: another template for another text of them. */
const templateName = (): string => {
  const hash = createHash('sha256').update(String(SHARDS));
  for (const file of globSync('committed/*.sql', { cwd: MIGRATIONS_FOLDER }).toSorted())
    hash.update(readFileSync(`${MIGRATIONS_FOLDER}/${file}`));
  return `strata_template_${hash.digest('hex').slice(0, 8)}`;
};

const exists = async (client: Client, database: string): Promise<boolean> =>
  (await client.query('select from pg_database where datname = $1', [database])).rowCount === 1;

/** An empty database with the extension on every node, which know each other. */
export const createCluster = async (
  url: string,
  database: string,
  workers: readonly ClusterNode[],
): Promise<void> => {
  const { hostname: host, port } = new URL(url);
  const nodes = [{ host, port: Number(port || 5432) }, ...workers];
  for (const node of nodes) {
    await withConnection(nodeUrl(url, node, new URL(url).pathname.slice(1)), async (client) => {
      await client.query('set citus.enable_create_database_propagation = off');
      await client.query('set citus.enable_ddl_propagation = off');
      await client.query(`create database ${database}`);
    });
    await withConnection(nodeUrl(url, node, database), (client) => client.query('create extension citus'));
  }
  await withConnection(databaseUrl(url, database), async (client) => {
    await client.query('select citus_set_coordinator_host($1, $2)', [host, nodes[0]!.port]);
    for (const worker of workers)
      await client.query('select citus_add_node($1, $2)', [worker.host, worker.port]);
  });
};

/** Runs one statement on every node, in a database that is there. */
export const onNodes = async (
  url: string,
  workers: readonly ClusterNode[],
  work: (client: Client) => Promise<unknown>,
): Promise<void> => {
  const { hostname: host, port } = new URL(url);
  const database = new URL(url).pathname.slice(1);
  await Promise.all(
    [{ host, port: Number(port || 5432) }, ...workers].map((node) =>
      withConnection(nodeUrl(url, node, database), async (client) => {
        await client.query('set citus.enable_ddl_propagation = off');
        await work(client);
      }),
    ),
  );
};

/** Copying a database refuses to while anybody is connected to it: Citus' own daemon is sent away before. */
const clone = async (client: Client, template: string, name: string): Promise<void> => {
  for (let tries = 20; ; tries--) {
    await client.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [
      template,
    ]);
    try {
      await client.query(`create database ${name} template ${template} strategy file_copy`);
      return;
    } catch (thrown) {
      if ((thrown as { code?: string }).code !== '55006' || tries === 0) throw thrown;
    }
  }
};

const sourceOn = (url: string): DatabaseSource => ({
  topology: 'citus',
  ownerUrl: url,
  adminUrl: url,
  create: () =>
    withConnection(url, async (client) => {
      await client.query('select pg_advisory_lock($1)', [LOCK_KEY]); // ends with the session
      const workers = await workersOf(url);
      const template = templateName();
      if (!(await exists(client, template))) {
        const making = `${template}_making`;
        await onNodes(url, workers, (node) => node.query(`drop database if exists ${making} with (force)`));
        await createCluster(url, making, workers);
        await migrate({ connectionString: databaseUrl(url, making), topology: 'citus', shards: SHARDS });
        await onNodes(url, workers, (node) => clone(node, making, template));
        await onNodes(url, workers, (node) => node.query(`drop database ${making} with (force)`));
      }
      const name = `strata_test_${randomBytes(6).toString('hex')}`;
      await onNodes(url, workers, (node) => clone(node, template, name));
      return name;
    }),
  drop: async (name) => {
    await onNodes(url, await workersOf(url), (node) =>
      node.query(`drop database if exists ${name} with (force)`),
    );
  },
});

/** A coordinator and the variable that names it; its database knows the workers. No URL where no cluster is to be had. */
export interface Coordinator {
  readonly variable: string;
  readonly url: string | undefined;
}

/** The cluster of the tests. */
export const clusterUrl = (): Coordinator => ({
  variable: 'CITUS_URL',
  url: process.env['CITUS_URL'] || undefined,
});

/** A cluster on this machine, under this user, whose workers may be killed. */
export const mortalClusterUrl = (): Coordinator => ({
  variable: 'CITUS_KILL_URL',
  url: process.env['CITUS_KILL_URL'] || undefined,
});

/**
 * Describes tests of a cluster: with `useDatabase()` giving databases on it. Left out, loudly, without `CITUS_URL`.
 *
 * @param register calls describe, test and the like, or imports a test file that does
 */
export const onCluster = async (
  name: string,
  register: () => unknown,
  { variable, url }: Coordinator = clusterUrl(),
): Promise<void> => {
  if (url === undefined) {
    console.warn(`SKIPPED: no tests of ${name} on Citus: ${variable} names no coordinator`);
    describe.skip(`${name} on Citus`, () => undefined);
    return;
  }
  useSource(sourceOn(url));
  await register();
};
