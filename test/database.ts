/** A database for a test file: a fresh clone of the migrated template, dropped when the file is done. */
import { randomBytes } from 'node:crypto';

import { Client } from 'pg';
import type { Pool } from 'pg';
import { afterAll, beforeAll, inject } from 'vitest';

import { dropDatabase } from '../src/db/administer.ts';
import { createPool } from '../src/db/pool.ts';
import { databaseUrl } from './postgres.ts';

/** While one worker clones the template, another worker's clone is refused with 55006: it waits its turn. */
const CLONE_LOCK_KEY = 7_265_001;
const CLONE_LIMIT_MS = 60_000;
/** The first file on a cluster makes and migrates the template on all its nodes. */
const CREATE_LIMIT_MS = 300_000;

/** A database of its own for a file or a describe block; its fields may be read in hooks and tests. */
export interface TestDatabase {
  /** Its URL, as an owner without superuser rights. */
  readonly url: string;
  /** The same as a superuser, for what only one may look at; the owner's where the server has given us none. */
  readonly adminUrl: string;
  /** What it lies on. */
  readonly topology: 'single' | 'citus';
  /** A pool on `url`, ended at the end of the file. */
  readonly pool: Pool;
  /** Another fresh clone, dropped with the first. */
  createDatabase(): Promise<{ readonly url: string; readonly adminUrl: string; readonly name: string }>;
}

const onServer = async (statement: (client: Client) => Promise<unknown>): Promise<void> => {
  const client = new Client({
    connectionString: inject('ownerUrl'),
    application_name: 'pgstrata test set-up',
    lock_timeout: CLONE_LIMIT_MS,
  });
  await client.connect();
  try {
    await statement(client);
  } finally {
    await client.end();
  }
};

const cloneTemplate = async (): Promise<string> => {
  const name = `strata_test_${randomBytes(6).toString('hex')}`;
  await onServer(async (client) => {
    await client.query('select pg_advisory_lock($1)', [CLONE_LOCK_KEY]); // ends with the session
    // Copying files is five times as fast as writing WAL where, as in tests, a checkpoint costs no fsync.
    await client.query(`create database ${name} template ${inject('templateDatabase')} strategy file_copy`);
  });
  return name;
};

/** Where databases of tests come from. */
export interface DatabaseSource {
  readonly topology: 'single' | 'citus';
  readonly ownerUrl: string;
  readonly adminUrl: string;
  /** Makes a migrated database and says its name. */
  readonly create: () => Promise<string>;
  readonly drop: (name: string) => Promise<void>;
}

const server: DatabaseSource = {
  topology: 'single',
  get ownerUrl() {
    return inject('ownerUrl');
  },
  get adminUrl() {
    return inject('adminUrl');
  },
  create: cloneTemplate,
  drop: (name) => dropDatabase(inject('ownerUrl'), name),
};

let source = server;

/** Makes {@link useDatabase} take databases from elsewhere, in this file's process: how a test file runs on a cluster, too. */
export const useSource = (other: DatabaseSource): void => {
  source = other;
};

/**
 * Gives the file (or describe block) that calls it a database of its own.
 *
 * @example
 * const database = useDatabase();
 * it('starts empty', async () => {
 *   const { rows } = await database.pool.query('select * from streams');
 *   expect(rows).toEqual([]);
 * });
 */
export const useDatabase = (): TestDatabase => {
  const { topology, ownerUrl, adminUrl, create, drop } = source;
  const names: string[] = [];
  let pool: Pool | undefined;
  const ready = (): { readonly name: string; readonly pool: Pool } => {
    const name = names[0];
    if (name === undefined || pool === undefined)
      throw new Error('the test database is ready in hooks and tests only');
    return { name, pool };
  };

  beforeAll(async () => {
    names.push(await create());
    pool = createPool(databaseUrl(ownerUrl, names[0] ?? ''), { applicationName: 'pgstrata test' });
  }, CREATE_LIMIT_MS);
  afterAll(async () => {
    await pool?.end();
    await Promise.all(names.map((name) => drop(name)));
  });

  return {
    topology,
    get url() {
      return databaseUrl(ownerUrl, ready().name);
    },
    get adminUrl() {
      return databaseUrl(adminUrl, ready().name);
    },
    get pool() {
      return ready().pool;
    },
    createDatabase: async () => {
      const name = await create();
      names.push(name);
      return {
        name,
        url: databaseUrl(ownerUrl, name),
        adminUrl: databaseUrl(adminUrl, name),
      };
    },
  };
};
