/** Kills the whole server of a worker with SIGKILL, as a power cut does, and starts it again as it was started before. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../db/until.ts';
import { withConnection } from '../postgres.ts';
import { nodeUrl, type ClusterNode } from './cluster.ts';

/** A worker of a cluster on this machine. */
export interface Worker {
  /** Kills every process of its server; returns when none is left. */
  readonly kill: () => Promise<void>;
  /** Starts it again; returns when it answers. */
  readonly restart: () => Promise<void>;
}

/** What is needed to start a server as it was started. */
interface Start {
  readonly pid: number;
  readonly argv: readonly string[];
  readonly folder: string;
}

const wordsOf = async (file: string): Promise<string[]> =>
  (await readFile(file, 'utf8')).split('\0').filter((word) => word !== '');

const startOf = (url: string): Promise<Start> =>
  withConnection(url, async (client) => {
    const { rows } = await client.query<{ pid: number; folder: string }>(
      `select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int as pid, current_setting('data_directory') as folder`,
    );
    const { pid, folder } = rows[0]!;
    return { pid, folder, argv: await wordsOf(`/proc/${pid}/cmdline`) };
  });

/** Parent and state of a process, as Linux tells them; null for one that is gone. */
const processOf = async (
  pid: number,
): Promise<{ readonly parent: number; readonly alive: boolean } | null> => {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (text === null) return null;
  const [state = '', parent = ''] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { parent: Number(parent), alive: state !== 'Z' };
};

const childrenOf = async (pid: number): Promise<number[]> => {
  const all = (await readdir('/proc')).map(Number).filter((one) => one > 0);
  const parents = await Promise.all(all.map(processOf));
  return all.filter((_one, index) => parents[index]?.parent === pid);
};

const killAll = (pids: readonly number[]): void => {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ESRCH') throw thrown;
    }
  }
};

const goneAll = async (pids: readonly number[]): Promise<boolean> =>
  (await Promise.all(pids.map(processOf))).every((one) => one === null || !one.alive);

const answers = (url: string): Promise<boolean> =>
  withConnection(url, (client) => client.query('select')).then(
    () => true,
    () => false,
  );

/**
 * The server of a worker.
 *
 * @param url a database of its coordinator
 */
export const openWorker = async (url: string, node: ClusterNode): Promise<Worker> => {
  const own = nodeUrl(url, node, 'postgres');
  let start = await startOf(own);
  return {
    kill: async () => {
      start = await startOf(own);
      const processes = [start.pid, ...(await childrenOf(start.pid))];
      killAll(processes);
      await until('the processes of the worker to be gone', () => goneAll(processes));
    },
    restart: async () => {
      const { argv, folder } = start;
      await rm(join(folder, 'postmaster.pid'), { force: true }); // a dead one's id may be another's by now
      const { uid, gid } = await stat(folder);
      const [program = '', ...words] = argv;
      const launch = (): ChildProcess => {
        const server = spawn(program, words, { cwd: folder, detached: true, stdio: 'ignore', uid, gid });
        server.unref();
        return server;
      };
      // It gives up where it finds what the dead one has left and nobody has swept up yet.
      let server = launch();
      await until('the worker to answer', async () => {
        if (server.exitCode !== null) server = launch();
        return answers(own);
      });
    },
  };
};
