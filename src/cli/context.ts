/** What every command starts from: the configuration, a database, a way to stop. */
import { resolve } from 'node:path';
import { sql } from 'kysely';
import { startEmbedded } from '../db/embedded.ts';
import { createPool, type PoolOptions } from '../db/pool.ts';
import { on, type Pool } from '../db/query.ts';
import { loadConfig, type Config } from '../runtime/config.ts';
import { WarehouseError } from '../runtime/errors.ts';

/** Options every command takes. */
export interface GlobalOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** Where the policy file is looked for. */
const DEFAULT_CONFIG = 'pgstrata.yaml';

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
  release(): Promise<void>;
}

/** The database of DATABASE_URL or the configuration, else an embedded PostgreSQL under `.pgstrata/`. */
export const findDatabase = async (config: Config, say: (text: string) => void): Promise<DatabaseHandle> => {
  const url = process.env['DATABASE_URL'] || config.database.url;
  if (url !== undefined) return { url, embedded: false, release: () => Promise.resolve() };
  const server = await startEmbedded({ dir: resolve(EMBEDDED_DIR), onProgress: say });
  return { url: server.url, embedded: true, release: () => server.stop() };
};

/** Runs `work` with a pool on the configured database; the embedded server is stopped by its last user. */
export const withDatabase = async <T>(
  config: Config,
  work: (pool: Pool, url: string) => Promise<T>,
  options: {
    readonly maxConnections?: number;
    readonly migrated?: boolean;
    readonly pool?: Pick<PoolOptions, 'applicationName' | 'synchronousCommit'>;
  } = {},
): Promise<T> => {
  const database = await findDatabase(config, (text) => process.stderr.write(`${text}\n`));
  const pool = createPool(database.url, {
    max: options.maxConnections ?? 10,
    allowPlaintext: config.database.allow_plaintext,
    // Safe: a lost commit takes the stream's position with it, so its rows come again.
    synchronousCommit: 'off',
    ...options.pool,
  });
  try {
    if (options.migrated !== false) await requireMigrated(pool);
    return await work(pool, database.url);
  } finally {
    await pool.end();
    await database.release();
  }
};

const requireMigrated = async (pool: Pool): Promise<void> => {
  const { rows } = await sql<{
    present: boolean;
  }>`select to_regclass('strata.streams') is not null as present`.execute(on(pool));
  if (rows[0]?.present !== true) {
    throw new WarehouseError('config', 'the database has no pgstrata schema yet', {
      remedy: 'Run `pgstrata migrate` first.',
    });
  }
};
