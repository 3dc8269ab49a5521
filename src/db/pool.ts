/** Connections to PostgreSQL: a pool with the session settings we rely on, clients and transactions borrowed from it. */
import { Pool } from 'pg';
import type { PoolClient } from 'pg';

import { WarehouseError } from '../runtime/errors.ts';
import { parseDatabaseUrl, refusePlaintext } from './connection-url.ts';
import { asWarehouseError } from './errors.ts';
import { VALUE_TYPES } from './value-types.ts';

const CONNECT_LIMIT_MS = 10_000;
const KEEPALIVE_AFTER_MS = 10_000;
const IDLE_LIMIT_MS = 30_000;

/** What a caller may decide about a pool. */
export interface PoolOptions {
  /** Most connections open at once; 10. */
  readonly max?: number;
  /** Shown in `pg_stat_activity`; `pgstrata`. */
  readonly applicationName?: string;
  /** `off` is safe for a load whose source can be replayed, because its position commits with the data. */
  readonly synchronousCommit?: 'on' | 'off' | 'local' | 'remote_write' | 'remote_apply';
  /** Dial another machine without TLS. */
  readonly allowPlaintext?: boolean;
  /** How long to wait for a connection, new or free, in milliseconds; 10,000. */
  readonly connectLimitMs?: number;
  /** Told about an idle connection that died; the pool has replaced it already. */
  readonly onIdleError?: (error: WarehouseError) => void;
}

/**
 * What every session starts with. Custom plans prune partitions (a generic plan over 1,000 leaves takes 3,000 locks);
 * `pg_temp` last, so that no temporary table hides one of ours.
 */
const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  timezone: 'UTC',
  datestyle: 'ISO',
  intervalstyle: 'iso_8601',
  plan_cache_mode: 'force_custom_plan',
  // A fold forbids some kinds of plan, which makes what is left look dear: every batch would be compiled for longer than it runs.
  jit: 'off',
  search_path: 'strata,public,pg_temp',
  statement_timeout: '0',
  // A client that vanished without a word holds its locks until the server notices; by default after two hours.
  tcp_keepalives_idle: '30',
  tcp_keepalives_interval: '10',
  tcp_keepalives_count: '3',
};

const startupOptions = (own: string | null, settings: Readonly<Record<string, string>>): string => {
  const flags = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`);
  return [...flags, ...(own === null ? [] : [own])].join(' '); // the last one wins: the URL's
};

/**
 * A pool of connections to `url`. Nothing is dialled before the first use; end it with `pool.end()`.
 *
 * @throws WarehouseError `config` for a URL that cannot be read, or that leaves the machine without TLS
 */
export const createPool = (url: string, options: PoolOptions = {}): Pool => {
  const target = parseDatabaseUrl(url);
  if (options.allowPlaintext !== true) refusePlaintext(target);
  const ownOptions = target.searchParams.get('options');
  target.searchParams.delete('options');
  const pool = new Pool({
    connectionString: target.toString(),
    options: startupOptions(ownOptions, {
      ...SESSION_SETTINGS,
      ...(options.synchronousCommit !== undefined && { synchronous_commit: options.synchronousCommit }),
    }),
    application_name: options.applicationName ?? 'pgstrata',
    max: options.max ?? 10,
    connectionTimeoutMillis: options.connectLimitMs ?? CONNECT_LIMIT_MS,
    idleTimeoutMillis: IDLE_LIMIT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_AFTER_MS,
    types: VALUE_TYPES,
  });
  // The URL holds the password; whoever prints the pool must not print that.
  Object.defineProperty(pool.options, 'connectionString', { enumerable: false });
  // Without a listener the death of an idle connection would end the process.
  pool.on('error', (error) => options.onIdleError?.(asWarehouseError(error)));
  return pool;
};

/** What PostgreSQL or the driver threw becomes ours; any other error is the borrower's own and stays as it is. */
const asOwn = (thrown: unknown): unknown => {
  const error = asWarehouseError(thrown);
  return error.kind === 'internal' ? thrown : error;
};

/** Idle, outside a transaction, and with nothing still to be answered; `pg` does not declare the last of these. */
const isAtRest = (client: PoolClient): boolean =>
  client.getTransactionStatus() === 'I' &&
  (client as { readonly readyForQuery?: boolean }).readyForQuery !== false;

/** A connection taken from a pool; give it back exactly once. */
export interface Borrowed {
  readonly client: PoolClient;
  /** Back to the pool if it is at rest; one that broke, or was left in a transaction or a statement, is closed instead. */
  readonly release: () => void;
}

/**
 * Takes a connection from the pool.
 *
 * @throws WarehouseError `connection` when there is none to be had
 */
export const borrowClient = async (pool: Pool): Promise<Borrowed> => {
  const client = await pool.connect().catch((error: unknown) => {
    throw asWarehouseError(error);
  });
  let broken: Error | undefined;
  const onBroken = (error: Error): void => {
    broken ??= error;
  };
  client.on('error', onBroken);
  const release = (): void => {
    client.off('error', onBroken);
    client.release(broken ?? !isAtRest(client));
  };
  return { client, release };
};

/**
 * Lends a connection to `work`.
 *
 * @throws WarehouseError whatever `work` or the connection failed with
 */
export const withClient = async <T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> => {
  const { client, release } = await borrowClient(pool);
  try {
    return await work(client);
  } catch (error) {
    throw asOwn(error);
  } finally {
    release();
  }
};

/** The isolation levels PostgreSQL tells apart. */
export type Isolation = 'read committed' | 'repeatable read' | 'serializable';

/** How a transaction begins. */
export interface TransactionOptions {
  readonly isolation?: Isolation;
  readonly readOnly?: boolean;
}

const beginStatement = ({ isolation = 'read committed', readOnly = false }: TransactionOptions): string =>
  `begin isolation level ${isolation} ${readOnly ? 'read only' : 'read write'}`;

/** Commits, and makes sure that it was a commit. */
export const commitTransaction = async (client: Pick<PoolClient, 'query'>): Promise<void> => {
  const { command } = await client.query('commit');
  // A statement failed and `work` swallowed it: PostgreSQL then answers COMMIT with ROLLBACK, without an error.
  if (command !== 'COMMIT') {
    throw new WarehouseError(
      'internal',
      'A transaction was rolled back at its commit: a failure in it was ignored.',
    );
  }
};

/**
 * Runs `work` in one transaction: committed when it returns, rolled back when it throws. When even the rollback
 * fails the connection is closed, which rolls back too: no session is left idle in a transaction.
 *
 * @throws WarehouseError what `work` threw, or why the commit failed
 */
export const withTransaction = async <T>(
  pool: Pool,
  work: (client: PoolClient) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> =>
  withClient(pool, async (client) => {
    await client.query(beginStatement(options));
    try {
      const result = await work(client);
      await commitTransaction(client);
      return result;
    } catch (error) {
      await client.query('rollback').catch(() => undefined); // withClient closes what is not idle
      throw error;
    }
  });
