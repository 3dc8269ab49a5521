/** What the cases of `scale` share: a database of its own for each run, the policy, and who used the CPU. */
import { readdirSync, readFileSync } from 'node:fs';
import { recreateDatabase } from '../../src/db/administer.ts';
import { migrate } from '../../src/db/migrate.ts';
import type { Pool } from '../../src/db/query.ts';

/** Every transfer of the chain. */
export const QUERY = 'SELECT _block_num, timestamp, log_index, token, "from", "to", value FROM transfers';

/** A policy with one stream `transfers`; `settings` follow the rules. */
export const policyOf = (url: string, settings: string): string => `
servers: { bench: { url: "${url}" } }
streams:
  transfers: { server: bench, load: transfers, query: '${QUERY}', ordinal: log_index, rules: ["to:+value", "from:-value"]${settings} }`;

/** A fresh, migrated database. */
export const freshDatabase = async (server: string): Promise<string> => {
  const database = await recreateDatabase(server, 'bench_scale');
  await migrate({ connectionString: database });
  return database;
};

/** Clock ticks per second, which Linux counts CPU in. */
const TICKS = 100;

/** What /proc says of a process: its parent, CPU seconds of its own, and of children that have ended. */
const statOf = (pid: string): { parent: string; own: number; ended: number } | null => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = (index: number): number => Number(fields[index]) / TICKS;
    return {
      parent: fields[1] ?? '',
      own: ticks(11) + ticks(12),
      ended: ticks(13) + ticks(14),
    };
  } catch {
    return null;
  }
};

/** CPU seconds of the PostgreSQL behind a pool so far, children that have ended included; it must run on this machine. */
export const postgresCpu = async (pool: Pool): Promise<number> => {
  const { rows } = await pool.query<{ pid: string }>(
    `select split_part(pg_read_file('postmaster.pid'), E'\n', 1) as pid`,
  );
  const postmaster = rows[0]!.pid;
  const own = statOf(postmaster);
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(statOf)
    .filter((stat) => stat?.parent === postmaster);
  return (own?.own ?? 0) + (own?.ended ?? 0) + children.reduce((sum, child) => sum + (child?.own ?? 0), 0);
};
