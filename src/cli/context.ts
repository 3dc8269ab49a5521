/** What every command starts from: the configuration, a database, a way to stop. */
import { resolve } from 'node:path';
import { sql } from 'kysely';
import { startEmbedded, type EmbeddedPostgres } from '../db/embedded.ts';
import { createPool, type PoolOptions } from '../db/pool.ts';
import { on, type Pool } from '../db/query.ts';
import type { DatabaseAddress } from '../db/sessions.ts';
import { loadConfig, type Config } from '../runtime/config.ts';
import { WarehouseError } from '../runtime/errors.ts';

/** Options every command takes. */
export interface GlobalOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** Where the policy file is looked for. */
export const DEFAULT_CONFIG = 'pgstrata.yaml';

/** Folder of the embedded server and its data. */
const EMBEDDED_DIR = '.pgstrata';

/** Reads the configuration a command was pointed to. */
export const configOf = (options: GlobalOptions): Promise<Config> =>
  loadConfig(options.config ?? DEFAULT_CONFIG, options.config !== undefined, process.env);

/** Everything in a configuration that must not be printed. */
export const secretsOf = (config: Config): string[] => {
  const urls = [config.database.url, process.env['DATABASE_URL']].filter((url) => url !== undefined);
  const passwords = urls.flatMap((url) =>
    URL.canParse(url) ? [new URL(url).password, decodeURIComponent(new URL(url).password)] : [],
  );
  return [...passwords, ...Object.values(config.servers).flatMap((server) => server.token ?? [])].filter(
    (secret) => secret !== '',
  );
};

/** An address of a database, and how to let go of it. */
export interface DatabaseHandle {
  readonly url: string;
  readonly embedded: boolean;
  /** Where it is now; starts an embedded server that went away. */
  find(): Promise<string>;
  release(): Promise<void>;
}

/** Whether there is a database at this address now. */
const answers = async (url: string): Promise<boolean> => {
  const pool = createPool(url, { max: 1 });
  const isThere = await pool.query('select').then(
    () => true,
    () => false,
  );
  await pool.end();
  return isThere;
};

/** The database of DATABASE_URL or the configuration, else an embedded PostgreSQL under `.pgstrata/`. */
export const findDatabase = async (config: Config, say: (text: string) => void): Promise<DatabaseHandle> => {
  const url = process.env['DATABASE_URL'] || config.database.url;
  if (url !== undefined) {
    return { url, embedded: false, find: () => Promise.resolve(url), release: () => Promise.resolve() };
  }
  const start = (): Promise<EmbeddedPostgres> =>
    startEmbedded({ dir: resolve(EMBEDDED_DIR), onProgress: say });
  let server = await start();
  let finding: Promise<string> | null = null;
  const find = async (): Promise<string> => {
    if (await answers(server.url)) return server.url;
    // Attaches to the server if it runs again, or starts it; the old attachment goes last, so that it stops nothing.
    const next = await start();
    await server.stop().catch(() => undefined);
    server = next;
    return next.url;
  };
  return {
    url: server.url,
    embedded: true,
    // Streams that lose it all at once look for it once.
    find: () => (finding ??= find().finally(() => (finding = null))),
    release: () => server.stop(),
  };
};

/**
 * Runs `work` with a pool on the configured database; the embedded server is stopped by its last user.
 *
 * `work` also gets what it takes to connect again after the database went away: where it is then.
 */
export const withDatabase = async <T>(
  config: Config,
  work: (pool: Pool, url: string, address: () => Promise<DatabaseAddress>) => Promise<T>,
  options: {
    readonly maxConnections?: number;
    readonly migrated?: boolean;
    readonly pool?: Pick<PoolOptions, 'applicationName' | 'synchronousCommit'>;
  } = {},
): Promise<T> => {
  const database = await findDatabase(config, (text) => process.stderr.write(`${text}\n`));
  const settings = {
    allowPlaintext: config.database.allow_plaintext,
    // Safe: a lost commit takes the stream's position with it, so its rows come again.
    synchronousCommit: 'off',
    ...options.pool,
  } as const;
  const pool = createPool(database.url, { max: options.maxConnections ?? 10, ...settings });
  const address = async (): Promise<DatabaseAddress> => ({ url: await database.find(), options: settings });
  try {
    if (options.migrated !== false) await requireMigrated(pool);
    return await work(pool, database.url, address);
  } finally {
    await pool.end();
    await database.release();
  }
};

/** @throws WarehouseError `config` when the schema is missing */
export const requireMigrated = async (pool: Pool): Promise<void> => {
  const { rows } = await sql<{
    present: boolean;
  }>`select to_regclass('strata.streams') is not null as present`.execute(on(pool));
  if (rows[0]?.present !== true) {
    throw new WarehouseError('config', 'the database has no pgstrata schema yet', {
      remedy: 'Run `pgstrata migrate` first.',
    });
  }
};
