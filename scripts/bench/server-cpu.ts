/** CPU time that the server's sessions of a database have used: on a machine that others use too, steadier than the clock. */
import { readFile } from 'node:fs/promises';
import type { Client } from '../../src/db/query.ts';

const NS_PER_SECOND = 1e9;

/** Nanoseconds on a CPU by process; empty where the system does not say (it takes Linux, and the server on this machine). */
const usedBySession = async (client: Client): Promise<ReadonlyMap<number, number>> => {
  const { rows } = await client.query<{ pid: number }>(
    `select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend'`,
  );
  const used = new Map<number, number>();
  for (const { pid } of rows) {
    const text = await readFile(`/proc/${pid}/schedstat`, 'utf8').catch(() => undefined);
    if (text !== undefined) used.set(pid, Number(text.split(' ')[0]));
  }
  return used;
};

/**
 * Seconds of the clock, and seconds of CPU that the database's sessions used meanwhile; a session must outlive `work` to count.
 * CPU is NaN where it cannot be known.
 */
export const timed = async (
  client: Client,
  work: () => Promise<unknown>,
): Promise<{ readonly seconds: number; readonly cpu: number }> => {
  const before = await usedBySession(client);
  const started = performance.now();
  await work();
  const seconds = (performance.now() - started) / 1000;
  const after = await usedBySession(client);
  const cpu = [...after].reduce((sum, [pid, used]) => sum + used - (before.get(pid) ?? 0), 0) / NS_PER_SECOND;
  return { seconds, cpu: after.size === 0 ? Number.NaN : cpu };
};
