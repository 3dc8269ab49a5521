/** Processor time that a local PostgreSQL has taken, all its processes together: steady where the clock is not, on a shared machine. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Client } from '../../src/db/query.ts';

/** Linux counts in hundredths of a second. */
const TICKS_PER_S = 100;

/** Fields of /proc/PID/stat behind the name: parent, and the four times. */
const statOf = (pid: number): { parent: number; own: number; ended: number } | null => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [, parent = 0] = fields;
    return { parent, own: fields[11]! + fields[12]!, ended: fields[13]! + fields[14]! };
  } catch {
    return null; // it has ended meanwhile
  }
};

/** Seconds that the backend of this connection has taken. */
export const backendCpu = async (client: Client): Promise<() => number> => {
  const pid = await backendPid(client);
  return () => (statOf(pid)?.own ?? Number.NaN) / TICKS_PER_S;
};

/** Seconds that the server of this connection has taken, ended processes among them. */
export const serverCpu = async (client: Client): Promise<() => number> => {
  const postmaster = statOf(await backendPid(client))?.parent ?? Number.NaN;
  return () => {
    const children = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((name) => statOf(Number(name)))
      .filter((stat) => stat?.parent === postmaster);
    const self = statOf(postmaster);
    return (
      ((self?.own ?? 0) + (self?.ended ?? 0) + children.reduce((sum, stat) => sum + (stat?.own ?? 0), 0)) /
      TICKS_PER_S
    );
  };
};

const backendPid = async (client: Client): Promise<number> => {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]!.pid;
};
