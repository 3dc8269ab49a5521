/** What the embedded PostgreSQL keeps on disk: its password, its port, its cluster, and whose they are. */
import { createHash, randomBytes } from 'node:crypto';
import {
  lchown,
  mkdir,
  readFile,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { WarehouseError } from '../runtime/errors.ts';
import { ROOT_PLACE, userMay } from './embedded-binaries.ts';
import { asWarehouseError } from './errors.ts';
import { initCluster, majorVersion } from './server-process.ts';
import type { Server, ServerUser } from './server-process.ts';

/** The superuser of every embedded cluster. */
export const SUPERUSER = 'pgstrata';
/** The only address an embedded server listens on. */
export const HOST = '127.0.0.1';

/** A fresh cluster takes 40 MB and its first WAL segments as much again. */
const MIN_FREE_BYTES = 256 * 1024 * 1024;
const MAX_LOG_BYTES = 16 * 1024 * 1024;

/** PostgreSQL refuses to run as root: then as whom? Undefined when we are not root ourselves. */
export const serverUser = async (): Promise<ServerUser | undefined> => {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const [, , uid, gid] = accounts.find((account) => account[0] === name) ?? [];
    if (Number(uid) > 0) return { name, uid: Number(uid), gid: Number(gid) };
  }
  throw new WarehouseError(
    'config',
    'PostgreSQL does not run as root, and there is no user "postgres" or "nobody".',
    {
      remedy: 'Run pgstrata as an ordinary user, or add a user named postgres.',
    },
  );
};

/** `pg_ctl` hands the path to a shell in double quotes, where these stay special. */
const UNQUOTABLE = process.platform === 'win32' ? /["\n]/u : /["$`\\\n]/u;

const REFUSALS: Readonly<Record<string, readonly [why: string, remedy: string]>> = {
  EACCES: ['may not be used by this user', 'Change its owner, or run as the user who made it.'],
  EPERM: ['may not be used by this user', 'Change its owner, or run as the user who made it.'],
  EROFS: ['is read-only', 'Use another directory, or set DATABASE_URL to a PostgreSQL of your own.'],
  ENOSPC: ['is on a full disk', 'Free space, or set DATABASE_URL to a PostgreSQL elsewhere.'],
  EDQUOT: ['is over its quota', 'Free space, or set DATABASE_URL to a PostgreSQL elsewhere.'],
};

/** What the file system refuses as a `config` error about our directory; what PostgreSQL refuses, as usual. */
export const refusePlace =
  (dir: string) =>
  (thrown: unknown): never => {
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
    const [why, remedy] = REFUSALS[code] ?? [];
    if (why === undefined || remedy === undefined) throw asWarehouseError(thrown);
    const file = 'path' in (thrown as object) ? String((thrown as { path: unknown }).path) : dir;
    throw new WarehouseError(
      'config',
      `The directory of the embedded PostgreSQL ${why}: ${file}`,
      { file, remedy },
      thrown,
    );
  };

/** Our own directory, by its real path: several processes must agree on it. */
export const openHome = async (dir: string): Promise<string> => {
  const home = join(dir, 'postgres');
  if (UNQUOTABLE.test(home)) {
    throw new WarehouseError('config', `PostgreSQL cannot be started in a directory of this name: ${home}`, {
      file: home,
      remedy: 'Use a directory without any of " $ ` \\ and line breaks in its path.',
    });
  }
  await mkdir(home, { recursive: true, mode: 0o711 });
  return realpath(home);
};

/** The server's own directory: inside ours, unless its user cannot get there. */
export const openPlace = async (home: string, user: ServerUser | undefined): Promise<string> => {
  const reachable = user === undefined || userMay(user, '-x', home);
  const hash = createHash('sha256').update(home).digest('hex').slice(0, 12);
  const place = reachable ? join(home, 'server') : join(ROOT_PLACE, `server-${hash}`);
  await mkdir(place, { recursive: true, mode: 0o711 });
  if (user !== undefined) await lchown(place, user.uid, user.gid);
  return place;
};

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';

const readIfPresent = async (path: string): Promise<string | undefined> => {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
};

/** The superuser's password: made once, kept in a file only we may read. */
const passwordOf = async (home: string, clusterExists: boolean): Promise<string> => {
  const file = join(home, 'password');
  const known = await readIfPresent(file);
  if (known !== undefined && known !== '') return known;
  if (clusterExists) {
    throw new WarehouseError('auth', `The password of the embedded PostgreSQL is missing.`, {
      file,
      remedy: 'Restore the file, or move the directory away to begin anew.',
    });
  }
  const password = randomBytes(24).toString('base64url');
  await writeFile(file, `${password}\n`, { mode: 0o600 });
  return password;
};

const refuseOtherMajor = (found: string, major: number, dataDir: string): void => {
  if (found === String(major)) return;
  throw new WarehouseError(
    'config',
    `${dataDir} was made by PostgreSQL ${found}; this is PostgreSQL ${major}.`,
    {
      file: dataDir,
      remedy: `Dump it with PostgreSQL ${found} and restore it here, or move the directory away to begin anew.`,
    },
  );
};

const refuseFullDisk = async (place: string): Promise<void> => {
  const { bavail, bsize } = await statfs(place);
  if (bavail * bsize >= MIN_FREE_BYTES) return;
  throw new WarehouseError('config', `The disk of ${place} is full: a new PostgreSQL needs 256 MB.`, {
    file: place,
    remedy: 'Free space, or set DATABASE_URL to a PostgreSQL elsewhere.',
  });
};

/** Makes the cluster beside its place and moves it in whole: a torn initdb leaves nothing that looks like one. */
const createCluster = async (
  server: Server,
  place: string,
  major: number,
  password: string,
  fsync: boolean,
): Promise<void> => {
  await refuseFullDisk(place);
  const draft = join(place, 'data.init');
  const passwordFile = join(place, 'password.init');
  await rm(draft, { recursive: true, force: true });
  await rm(passwordFile, { force: true });
  await writeFile(passwordFile, password, { flag: 'wx', mode: 0o600 });
  try {
    if (server.user !== undefined) await lchown(passwordFile, server.user.uid, server.user.gid);
    await initCluster({ ...server, dataDir: draft }, major, { superuser: SUPERUSER, passwordFile, fsync });
    await rename(draft, server.dataDir);
  } finally {
    await rm(passwordFile, { force: true });
  }
};

/**
 * Makes sure that there is a cluster for these binaries; the first time it is made.
 *
 * @returns the superuser's password
 * @throws WarehouseError `config` for a cluster of another major version or a full disk
 */
export const ensureCluster = async (
  server: Server,
  home: string,
  options: { readonly fsync: boolean; readonly onProgress?: ((message: string) => void) | undefined },
): Promise<string> => {
  const place = join(server.dataDir, '..');
  const major = await majorVersion(server);
  const found = await readIfPresent(join(server.dataDir, 'PG_VERSION'));
  const password = await passwordOf(home, found !== undefined);
  if (found === undefined) {
    const stray = await readdir(server.dataDir).catch(() => []);
    if (stray.length > 0) {
      throw new WarehouseError(
        'config',
        `${server.dataDir} is no PostgreSQL data directory, and not empty.`,
        {
          file: server.dataDir,
          remedy: 'Move it away.',
        },
      );
    }
    options.onProgress?.(`Creating a PostgreSQL ${major} in ${place}`);
    await createCluster(server, place, major, password, options.fsync);
  } else {
    refuseOtherMajor(found, major, server.dataDir);
  }
  return password;
};

/** Begins a new log when the old one has grown; two are kept. */
export const rotateLog = async (server: Server): Promise<void> => {
  const found = await stat(server.logFile).catch(() => undefined);
  if (found !== undefined && found.size > MAX_LOG_BYTES)
    await rename(server.logFile, `${server.logFile}.old`);
};

const tryPort = (port: number): Promise<number | undefined> =>
  new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(undefined));
    probe.listen({ port, host: HOST, exclusive: true }, () => {
      const { port: bound } = probe.address() as AddressInfo;
      probe.close(() => resolve(bound));
    });
  });

/** The port this directory's server has always had, or a free one, kept for the next time, when it is taken. */
export const choosePort = async (home: string): Promise<number> => {
  const file = join(home, 'port');
  const saved = Number((await readIfPresent(file)) ?? 0);
  const usable = saved > 0 && saved < 65_536 ? await tryPort(saved) : undefined;
  const port = usable ?? (await tryPort(0));
  if (port === undefined) {
    throw new WarehouseError('connection', `No port can be opened on ${HOST}.`, {
      remedy: 'Allow processes to listen on the loopback address, or set DATABASE_URL.',
    });
  }
  if (port !== saved) await writeFile(file, `${port}\n`);
  return port;
};
