/** A lock between processes of one machine: a file with its holder's pid, taken over when the holder is gone. */
import { randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';

import { WarehouseError } from '../runtime/errors.ts';
import { isAlive } from './server-process.ts';

const POLL_MS = 25;
/** Clocks step; a file this much older than the machine's start was surely left from before. */
const BOOT_SLACK_MS = 10_000;

/** The lock files this process holds: after a container's restart a dead holder may have had our own pid. */
const held = new Set<string>();

/** Appears with its content or not at all, so that a reader never finds a lock without a holder. */
const create = async (path: string): Promise<boolean> => {
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(draft, `${process.pid}\n`, { mode: 0o600 });
  try {
    await link(draft, path);
    held.add(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
};

interface Holder {
  readonly pid: number;
  readonly alive: boolean;
}

const holderOf = async (path: string, claimed: string): Promise<Holder | undefined> => {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  const found = await stat(path).catch(() => undefined);
  if (text === undefined || found === undefined) return undefined; // given back in the meantime
  const pid = Number(text);
  const beforeBoot = found.mtimeMs + BOOT_SLACK_MS < Date.now() - uptime() * 1_000;
  const alive = pid === process.pid ? held.has(claimed) : isAlive(pid) && !beforeBoot;
  return { pid, alive };
};

/** Moves a dead holder's file away; if a living one's was caught instead, gives it back. */
const removeStale = async (path: string): Promise<void> => {
  const aside = `${path}.stale-${randomBytes(6).toString('hex')}`;
  const moved = await rename(path, aside).then(
    () => true,
    () => false, // another process was faster
  );
  if (!moved) return;
  const holder = await holderOf(aside, path);
  if (holder?.alive === true) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
};

/**
 * Runs `work` while this process holds the lock file.
 *
 * @param waitMs how long to wait for another holder, in milliseconds
 * @throws WarehouseError `conflict` when the wait is over
 */
export const withFileLock = async <T>(path: string, waitMs: number, work: () => Promise<T>): Promise<T> => {
  const deadline = performance.now() + waitMs;
  while (!(await create(path))) {
    const holder = await holderOf(path, path);
    if (holder?.alive === false) {
      await removeStale(path);
    } else if (performance.now() > deadline) {
      throw new WarehouseError('conflict', `Process ${holder?.pid ?? '?'} held ${path} for ${waitMs} ms.`, {
        file: path,
        remedy: 'Wait for that process, or remove the file if it is not one of pgstrata.',
      });
    } else {
      await pause(POLL_MS);
    }
  }
  try {
    return await work();
  } finally {
    held.delete(path);
    await rm(path, { force: true });
  }
};
