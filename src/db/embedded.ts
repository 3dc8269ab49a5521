/** An embedded PostgreSQL for users without one: started on demand, shared by processes, stopped by the last of them. */
import { readFile, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { Client, escapeIdentifier } from 'pg';

import { WarehouseError } from '../runtime/errors.ts';
import { embeddedBinaries } from './embedded-binaries.ts';
import {
  HOST,
  SUPERUSER,
  choosePort,
  ensureCluster,
  openHome,
  openPlace,
  refusePlace,
  rotateLog,
  serverUser,
} from './embedded-home.ts';
import { sqlstateOf } from './errors.ts';
import { withFileLock } from './file-lock.ts';
import { isAlive, isPostmaster, readPostmaster, startServer, stopServer } from './server-process.ts';
import type { Postmaster, Server, ServerSettings } from './server-process.ts';

/** Another process may be making a cluster, or recovering one, while we wait for the lock. */
const LOCK_WAIT_MS = 300_000;
/** How long a running server may take to answer: it replays its WAL after a crash. */
const READY_LIMIT_MS = 180_000;
const READY_POLL_MS = 50;
const CONNECT_LIMIT_MS = 5_000;
const START_ATTEMPTS = 5;
const FIRST_RETRY_PAUSE_MS = 50;
/** How long connections that were just closed may linger in pg_stat_activity. */
const STRAGGLER_LIMIT_MS = 1_000;
const STRAGGLER_POLL_MS = 20;
const LOG_TAIL_CHARS = 1_000;
const MIB = 1024 * 1024;

/** Every user of the server keeps one connection of this name open: how the last one knows that it is the last. */
const PRESENCE = 'pgstrata presence';

/** What a caller may decide about the embedded server. */
export interface EmbeddedOptions {
  /** The directory for everything it keeps, e.g. `<cwd>/.pgstrata`. */
  readonly dir: string;
  /** Made when missing; `pgstrata`. */
  readonly database?: string;
  /** Server settings over ours; they act only if this call starts the server. */
  readonly settings?: ServerSettings;
  /** Told what takes time, in words for a person. */
  readonly onProgress?: (message: string) => void;
  /** `false` for tests only: a crash of the machine then loses the cluster. */
  readonly fsync?: boolean;
  /** Another installation's `bin`; default: the npm package's PostgreSQL. */
  readonly binDir?: string;
}

/** A running embedded server that we use. */
export interface EmbeddedPostgres {
  /** The superuser's URL; it holds the password. */
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  /** Whether this call started it; otherwise it ran already. */
  readonly startedByUs: boolean;
  /** Stops using it; the last user of all stops the server. Close your own connections first. */
  stop(): Promise<void>;
}

/** A warehouse on a laptop: bulk loads, wide partition sets, few sessions. */
const settingsFor = (port: number, options: EmbeddedOptions): ServerSettings => ({
  listen_addresses: HOST,
  port,
  unix_socket_directories: '',
  max_connections: 100,
  shared_buffers: `${Math.min(2048, Math.max(128, Math.floor(totalmem() / MIB / 8)))}MB`,
  max_wal_size: '4GB',
  checkpoint_timeout: '15min',
  max_locks_per_transaction: 512, // a statement over a year of weeks × 4 leaves locks hundreds
  max_worker_processes: 16,
  random_page_cost: 1.1,
  jit: 'off', // compiles for longer than our statements run
  autovacuum: 'on',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_min_error_statement: 'panic', // statements may hold values nobody wants in a log
  ...(options.fsync === false && { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' }),
  ...options.settings,
});

const urlOf = (port: number, password: string, database: string): string =>
  `postgres://${SUPERUSER}:${encodeURIComponent(password)}@${HOST}:${port}/${encodeURIComponent(database)}`;

/** Connects to the server as itself; undefined while it does not answer, or when another one does. */
const connect = async (port: number, password: string, dataDir: string): Promise<Client | undefined> => {
  const client = new Client({
    connectionString: urlOf(port, password, 'postgres'),
    application_name: PRESENCE,
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
  });
  client.on('error', () => undefined); // its death is found out by the next query
  try {
    await client.connect();
    const { rows } = await client.query<{ data_directory: string }>('show data_directory');
    if (rows[0]?.data_directory === dataDir) return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    if (sqlstateOf(error) === '28P01') {
      throw new WarehouseError(
        'auth',
        `The embedded PostgreSQL on port ${port} does not know its password.`,
        {
          file: dataDir,
          remedy: 'Restore the file "password" beside its data, or move the directory away to begin anew.',
        },
      );
    }
    return undefined; // refused, starting up, shutting down: all the same to the caller
  }
  await client.end().catch(() => undefined);
  return undefined;
};

const socketOf = (client: Client): Socket => client.connection.stream as Socket;

interface Running {
  readonly port: number;
  readonly presence: Client;
  readonly startedByUs: boolean;
}

/** Waits for a server that runs to answer; undefined when it goes away instead. */
const attach = async (
  server: Server,
  postmaster: Postmaster,
  password: string,
): Promise<Running | undefined> => {
  const deadline = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const now = await readPostmaster(server.dataDir);
    if (now?.pid !== postmaster.pid || !isAlive(postmaster.pid)) return undefined;
    const presence = now.port > 0 ? await connect(now.port, password, server.dataDir) : undefined;
    if (presence !== undefined) return { port: now.port, presence, startedByUs: false };
    if (performance.now() > deadline) {
      throw new WarehouseError(
        'connection',
        `The embedded PostgreSQL (pid ${postmaster.pid}) does not answer.`,
        {
          file: server.logFile,
          remedy: `Look into ${server.logFile}, and stop that process.`,
        },
      );
    }
    await pause(READY_POLL_MS);
  }
};

const logTail = async (server: Server): Promise<string> =>
  (await readFile(server.logFile, 'utf8').catch(() => '')).slice(-LOG_TAIL_CHARS).trim();

/** Attaches to the server if it runs, else starts it; a few times over, for it may come and go meanwhile. */
const ensureRunning = async (
  server: Server,
  home: string,
  password: string,
  options: EmbeddedOptions,
): Promise<Running> => {
  for (let attempt = 1; attempt <= START_ATTEMPTS; attempt++) {
    const postmaster = await readPostmaster(server.dataDir);
    if (postmaster !== undefined && (await isPostmaster(postmaster.pid, server.dataDir))) {
      const running = await attach(server, postmaster, password);
      if (running !== undefined) return running;
    }
    // Left by a server that was killed. PostgreSQL would start over a dead pid, but not over somebody else's.
    if (postmaster !== undefined) await rm(join(server.dataDir, 'postmaster.pid'), { force: true });
    const port = await choosePort(home);
    options.onProgress?.(`Starting PostgreSQL on port ${port}`);
    await rotateLog(server);
    if (await startServer(server, settingsFor(port, options))) {
      const presence = await connect(port, password, server.dataDir);
      if (presence !== undefined) return { port, presence, startedByUs: true };
    }
    // The port was taken between our look and its start, or the sessions of a killed server are still going away.
    if (attempt < START_ATTEMPTS) await pause(FIRST_RETRY_PAUSE_MS * 2 ** attempt);
  }
  throw new WarehouseError('database', `The embedded PostgreSQL does not start: ${await logTail(server)}`, {
    file: server.logFile,
    remedy: `Look into ${server.logFile}, or set DATABASE_URL to a PostgreSQL of your own.`,
  });
};

const ensureDatabase = async (client: Client, name: string): Promise<void> => {
  const { rowCount } = await client.query('select from pg_catalog.pg_database where datname = $1', [name]);
  if (rowCount === 0) await client.query(`create database ${escapeIdentifier(name)}`);
};

/** Whether anybody else uses the server; connections that are just closing get a moment to do so. */
const hasOtherUsers = async (presence: Client): Promise<boolean> => {
  const deadline = performance.now() + STRAGGLER_LIMIT_MS;
  for (;;) {
    const { rows } = await presence.query<{ users: number; sessions: number }>(
      `select count(*) filter (where application_name = $1)::int as users, count(*)::int as sessions
         from pg_catalog.pg_stat_activity
        where backend_type = 'client backend' and datid is not null -- without one, not even logged in
          and pid <> pg_catalog.pg_backend_pid()`,
      [PRESENCE],
    );
    const { users = 0, sessions = 0 } = rows[0] ?? {};
    if (sessions === 0) return false;
    if (users > 0 || performance.now() > deadline) return true;
    await pause(STRAGGLER_POLL_MS);
  }
};

/** Leaves, and stops the server if nobody else is there. Runs under the lock, so that nobody comes meanwhile. */
const leave = async (server: Server, password: string, running: Running): Promise<void> => {
  socketOf(running.presence).ref(); // now we do wait for its answers
  const postmaster = await readPostmaster(server.dataDir);
  const gone = postmaster === undefined || !(await isPostmaster(postmaster.pid, server.dataDir));
  const shared = gone
    ? true
    : await hasOtherUsers(running.presence).catch(async () => {
        // Our connection broke; ask over a new one. A server that takes none has no users.
        const again = await connect(postmaster.port, password, server.dataDir);
        if (again === undefined) return false;
        try {
          return await hasOtherUsers(again);
        } finally {
          await again.end();
        }
      });
  await running.presence.end().catch(() => undefined);
  if (!shared) await stopServer(server);
};

interface Home {
  readonly server: Server;
  readonly home: string;
  /** Held while the server is made, started or stopped. */
  readonly lock: string;
}

const openServer = async (options: EmbeddedOptions): Promise<Home> => {
  const user = await serverUser();
  const home = await openHome(options.dir);
  const place = await openPlace(home, user);
  if (!place.startsWith(home)) {
    options.onProgress?.(`Keeping the data in ${place}, where user ${user?.name ?? ''} can reach it`);
  }
  const server: Server = {
    binDir: options.binDir ?? (await embeddedBinaries(user)),
    dataDir: join(place, 'data'),
    logFile: join(place, 'server.log'),
    user,
  };
  return { server, home, lock: join(home, 'start.lock') };
};

/**
 * Starts the embedded PostgreSQL of a directory, or attaches to it if another process has. It is a daemon: it
 * outlives this process if that is killed, and the next call finds it.
 *
 * @throws WarehouseError `config` when it cannot run here, `conflict` when another process hangs while starting it,
 *   `database` with the end of its log when it does not start
 */
export const startEmbedded = async (options: EmbeddedOptions): Promise<EmbeddedPostgres> => {
  const database = options.database ?? 'pgstrata';
  const { server, home, lock } = await openServer(options).catch(refusePlace(options.dir));
  const { running, password } = await withFileLock(lock, LOCK_WAIT_MS, async () => {
    const secret = await ensureCluster(server, home, {
      fsync: options.fsync !== false,
      onProgress: options.onProgress,
    });
    const found = await ensureRunning(server, home, secret, options);
    try {
      await ensureDatabase(found.presence, database);
    } catch (error) {
      await leave(server, secret, found);
      throw error;
    }
    return { running: found, password: secret };
  }).catch(refusePlace(options.dir));
  socketOf(running.presence).unref(); // being there must not keep a finished process alive
  let stopped: Promise<void> | undefined;
  return {
    url: urlOf(running.port, password, database),
    port: running.port,
    dataDir: server.dataDir,
    startedByUs: running.startedByUs,
    stop: () => (stopped ??= withFileLock(lock, LOCK_WAIT_MS, () => leave(server, password, running))),
  };
};
