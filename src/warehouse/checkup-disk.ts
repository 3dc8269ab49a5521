/** The room on disk that the database has, where it can be seen from here. */
import { statfs } from 'node:fs/promises';
import { sql } from 'kysely';
import { on, type Pool } from '../db/query.ts';
import type { Finding } from './finding.ts';

/** Less free than this, and the server may stop at its next checkpoint. */
const FREE_MIN_BYTES = 1_000_000_000;

/** Free room that is worth a word, as a share of the disk. */
const FREE_MIN_SHARE = 0.1;

const GB = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

/** Bytes of the disk that the data of a server on this machine lies on; null where its user may not see `data_directory`. */
export const diskOf = async (
  pool: Pool,
): Promise<{ readonly free: number; readonly size: number } | null> => {
  const { rows } = await sql<{ directory: string | null }>`
    select (select setting from pg_settings where name = 'data_directory') as directory`.execute(on(pool));
  const directory = rows[0]?.directory ?? null;
  const disk = directory === null ? null : await statfs(directory).catch(() => null);
  return disk === null ? null : { free: disk.bavail * disk.bsize, size: disk.blocks * disk.bsize };
};

/**
 * What the database weighs, and what is free where its data lies.
 *
 * @param local whether the server runs on this machine; from elsewhere, and without the right to see `data_directory`, nothing is
 *   known of its disk
 */
export const checkDisk = async (pool: Pool, local: boolean): Promise<Finding> => {
  const { rows } = await sql<{ bytes: number }>`
    select pg_database_size(current_database()) as bytes`.execute(on(pool));
  const { bytes } = rows[0]!;
  const disk = local ? await diskOf(pool) : null;
  if (disk === null)
    return {
      check: 'disk',
      state: 'ok',
      says: `the database weighs ${GB(bytes)}; what is free cannot be seen from here`,
    };
  const { free, size } = disk;
  const says = `the database weighs ${GB(bytes)}, ${GB(free)} of ${GB(size)} are free`;
  if (free >= FREE_MIN_BYTES && free >= size * FREE_MIN_SHARE) return { check: 'disk', state: 'ok', says };
  return {
    check: 'disk',
    state: free < FREE_MIN_BYTES ? 'fault' : 'warning',
    says,
    remedy:
      'Make room: a consolidation needs as much as its week beside it; `retain` in partitions.<set> takes old weeks out.',
  };
};
