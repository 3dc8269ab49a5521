/** Processor time that a PostgreSQL of this machine has taken: steady where the clock is not, on a machine that others use too. It takes Linux. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Client } from '../src/db/query.ts';

/** Whatever can be asked: a connection or a pool of them. */
type Asked = Pick<Client, 'query'>;

/** Linux counts in hundredths of a second. */
const TICKS_PER_S = 100;

/** What /proc says of a process: its parent, seconds of its own, and of children that have ended; null once it has ended itself. */
const statOf = (pid: number): { parent: number; own: number; ended: number } | null => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const seconds = (first: number): number => (fields[first]! + fields[first + 1]!) / TICKS_PER_S;
    return { parent: fields[1] ?? 0, own: seconds(11), ended: seconds(13) };
  } catch {
    return null;
  }
};

const backendPid = async (asked: Asked): Promise<number> => {
  const { rows } = await asked.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]!.pid;
};

/** Seconds that the backend of this connection has taken, whenever it is asked. */
export const backendCpu = async (client: Client): Promise<() => number> => {
  const pid = await backendPid(client);
  return () => statOf(pid)?.own ?? Number.NaN;
};

/** Seconds that the whole server has taken, ended processes among them, whenever it is asked. */
export const serverCpu = async (asked: Asked): Promise<() => number> => {
  const postmaster = statOf(await backendPid(asked))?.parent ?? Number.NaN;
  return () => {
    const children = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((name) => statOf(Number(name)))
      .filter((stat) => stat?.parent === postmaster);
    const self = statOf(postmaster);
    return (self?.own ?? 0) + (self?.ended ?? 0) + children.reduce((sum, stat) => sum + (stat?.own ?? 0), 0);
  };
};

/** Seconds by session of the database. */
const sessionsCpu = async (client: Client): Promise<ReadonlyMap<number, number>> => {
  const { rows } = await client.query<{ pid: number }>(
    `select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend'`,
  );
  return new Map(
    rows.flatMap(({ pid }) =>
      [statOf(pid)].flatMap((stat) => (stat === null ? [] : [[pid, stat.own] as const])),
    ),
  );
};

/**
 * Seconds of the clock, and seconds of CPU that the database's sessions used meanwhile; a session must outlive `work` to count.
 * CPU is NaN where it cannot be known.
 */
export const timed = async (
  client: Client,
  work: () => Promise<unknown>,
): Promise<{ readonly seconds: number; readonly cpu: number }> => {
  const before = await sessionsCpu(client);
  const started = performance.now();
  await work();
  const seconds = (performance.now() - started) / 1000;
  const after = await sessionsCpu(client);
  const cpu = [...after].reduce((sum, [pid, used]) => sum + used - (before.get(pid) ?? 0), 0);
  return { seconds, cpu: after.size === 0 ? Number.NaN : cpu };
};
