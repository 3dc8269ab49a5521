/** The one PostgreSQL of a test run: given, in a container, or embedded; with one migrated template database. */
import { randomBytes } from 'node:crypto';
import { access, chmod, constants, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir, freemem } from 'node:os';
import { join } from 'node:path';

import { Client } from 'pg';
import type { TestProject } from 'vitest/node';

import { startEmbedded } from '../src/db/embedded.ts';
import { migrate } from '../src/db/migrate.ts';
import { isAlive } from '../src/db/server-process.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** The owner of the test databases, no superuser; its URL names the database to connect to first. */
    readonly ownerUrl: string;
    /** A superuser where there is one; otherwise the owner. */
    readonly adminUrl: string;
    /** The migrated database that every test database is a clone of. */
    readonly templateDatabase: string;
  }
}

interface Provider {
  readonly adminUrl: string;
  stop(): Promise<void>;
}

const givenServer = (url: string): Provider => ({ adminUrl: url, stop: () => Promise.resolve() });

const containerServer = async (image: string): Promise<Provider> => {
  const { GenericContainer, Wait } = await import('testcontainers');
  const container = await new GenericContainer(image)
    .withEnvironment({ POSTGRES_PASSWORD: 'postgres' })
    .withCommand(['postgres', '-c', 'fsync=off', '-c', 'max_locks_per_transaction=512'])
    .withExposedPorts(5432)
    .withWaitStrategy(Wait.forLogMessage(/ready to accept connections/u, 2))
    .start();
  return {
    adminUrl: `postgres://postgres:postgres@${container.getHost()}:${container.getMappedPort(5432)}/postgres`,
    stop: async () => {
      await container.stop();
    },
  };
};

/** Linux's folder in memory: databases come and go by the hundred, and a file system takes its time over thousands of files. */
const IN_MEMORY = '/dev/shm';
/** More than a run ever keeps there at once. */
const IN_MEMORY_MIN_BYTES = 4 * 1024 ** 3;

const placeOfData = async (): Promise<string> => {
  const roomy = await access(IN_MEMORY, constants.W_OK)
    .then(() => statfs(IN_MEMORY))
    .then(({ bavail, bsize }) => Math.min(bavail * bsize, freemem()) >= IN_MEMORY_MIN_BYTES)
    .catch(() => false); // no Linux, or a container that was given 64 MB
  return roomy ? IN_MEMORY : tmpdir();
};

/** A folder for a server that nobody needs after this process. */
export const openDataFolder = async (): Promise<string> => {
  const dir = await mkdtemp(join(await placeOfData(), `pgstrata-test-${process.pid}-`));
  await chmod(dir, 0o711); // as root the server runs as another user
  return dir;
};

/** A killed run cannot stop its server; the next one does, knowing it by the dead pid in the directory's name. */
const sweepUp = async (): Promise<void> => {
  for (const place of new Set([tmpdir(), await placeOfData()])) await sweep(place);
};

const sweep = async (place: string): Promise<void> => {
  for (const name of await readdir(place)) {
    const pid = /^pgstrata-test-(?<pid>\d+)-/u.exec(name)?.groups?.['pid'];
    if (pid === undefined || isAlive(Number(pid))) continue;
    const dir = join(place, name);
    const left = await startEmbedded({ dir, fsync: false }).catch(() => undefined); // torn, or another user's
    await left?.stop();
    await rm(dir, { recursive: true, force: true }).catch(() => undefined);
  }
};

/** Settings of a test server over those of an embedded one: a small one, which compresses nothing that nobody keeps. */
export const TEST_SERVER_SETTINGS = {
  shared_buffers: '128MB',
  max_wal_size: '512MB',
  wal_compression: 'off',
};

const embeddedServer = async (): Promise<Provider> => {
  await sweepUp();
  const dir = await openDataFolder();
  const forget = (): Promise<void> => rm(dir, { recursive: true, force: true });
  try {
    const server = await startEmbedded({
      dir,
      fsync: false,
      database: 'postgres',
      settings: TEST_SERVER_SETTINGS,
    });
    return { adminUrl: server.url, stop: () => server.stop().then(forget) };
  } catch (error) {
    await forget();
    throw error;
  }
};

const provider = (): Provider | Promise<Provider> => {
  const url = process.env['TEST_DATABASE_URL'];
  if (url !== undefined && url !== '') return givenServer(url);
  const image = process.env['PGSTRATA_TEST_IMAGE'];
  return image !== undefined && image !== '' ? containerServer(image) : embeddedServer();
};

/** Tests run as an ordinary role, so that nothing of ours needs a superuser without our noticing. */
const createOwner = async (admin: Client, adminUrl: string): Promise<string> => {
  const { rows } = await admin.query<{ super: boolean }>(
    'select rolsuper as super from pg_catalog.pg_roles where rolname = current_user',
  );
  if (rows[0]?.super !== true) return adminUrl;
  // Thousands of connections are made, and nobody listens: a password need not be slow to try.
  await admin.query(
    `select set_config('scram_iterations', '1', false) from pg_catalog.pg_settings where name = 'scram_iterations'`,
  ); // PostgreSQL 15 has it not
  const [name, password] = [`strata_test_${randomBytes(4).toString('hex')}`, randomBytes(12).toString('hex')];
  await admin.query(`create role ${name} login createdb createrole password '${password}'`);
  const url = new URL(adminUrl);
  url.username = name;
  url.password = password;
  return url.toString();
};

/** The same server and user, another database. */
export const databaseUrl = (url: string, database: string): string => {
  const other = new URL(url);
  other.pathname = `/${database}`;
  return other.toString();
};

/** Does something on a connection of its own. */
export const withConnection = async <T>(url: string, work: (client: Client) => Promise<T>): Promise<T> => {
  const client = new Client({ connectionString: url, application_name: 'pgstrata test set-up' });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
};

const dropOwner = async (admin: Client, ownerUrl: string): Promise<void> => {
  const owner = new URL(ownerUrl).username;
  await admin.query(`drop owned by ${owner}`);
  await admin.query(`drop role ${owner}`);
};

/** Runs once before all test files; what it returns, once after them. */
export const setup = async (project: TestProject): Promise<() => Promise<void>> => {
  const server = await provider();
  const templateDatabase = `strata_template_${randomBytes(4).toString('hex')}`;
  const ownerUrl = await withConnection(server.adminUrl, (admin) => createOwner(admin, server.adminUrl));
  await withConnection(ownerUrl, (owner) => owner.query(`create database ${templateDatabase}`));
  await migrate({ connectionString: databaseUrl(ownerUrl, templateDatabase) });
  project.provide('ownerUrl', ownerUrl);
  project.provide('adminUrl', server.adminUrl);
  project.provide('templateDatabase', templateDatabase);
  return async () => {
    await withConnection(ownerUrl, (owner) => owner.query(`drop database ${templateDatabase} with (force)`));
    if (ownerUrl !== server.adminUrl) {
      await withConnection(server.adminUrl, (admin) => dropOwner(admin, ownerUrl)).catch((error: unknown) => {
        // Roles that the migrations made belong to the whole server; a run beside this one may use them.
        process.stderr.write(`test role not dropped: ${String(error)}\n`);
      });
    }
    await server.stop();
  };
};
