/** The life of the embedded PostgreSQL: several processes, crashes of either side, taken ports, closed directories. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { ROOT_PLACE, embeddedBinaries, runnableBinaries } from '../../src/db/embedded-binaries.ts';
import { serverUser } from '../../src/db/embedded-home.ts';
import { startEmbedded } from '../../src/db/embedded.ts';
import type { EmbeddedPostgres } from '../../src/db/embedded.ts';
import { isAlive, readPostmaster } from '../../src/db/server-process.ts';
import { openDataFolder } from '../postgres.ts';
import { until } from './until.ts';

const CHILD = fileURLToPath(new URL('embedded-child.ts', import.meta.url));
const asRoot = process.getuid?.() === 0;

let dir = '';
let children: ChildProcess[] = [];

const start = (): Promise<EmbeddedPostgres> => startEmbedded({ dir, fsync: false });

const ask = async (server: EmbeddedPostgres, sql: string): Promise<unknown> => {
  const client = new Client({ connectionString: server.url });
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows[0];
  } finally {
    await client.end();
  }
};

interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly port: number;
  readonly startedByUs: boolean;
}

/** Starts a process as a terminal would, in a process group of its own, and waits until it uses the server. */
const startChild = async (manner: 'stay' | 'forget' = 'stay'): Promise<Child> => {
  const child = spawn(process.execPath, [CHILD, dir, manner], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    return {
      process: child,
      pid: child.pid ?? 0,
      ...(JSON.parse(line) as { port: number; startedByUs: boolean }),
    };
  }
  throw new Error('the child ended without a word');
};

/** Sends a signal to the child's whole group, as Ctrl-C does, and waits until the child is gone. */
const signalGroup = async (child: Child, signal: NodeJS.Signals): Promise<void> => {
  const exit = once(child.process, 'exit');
  process.kill(-child.pid, signal);
  await exit;
};

const logOf = (server: { readonly dataDir: string }): Promise<string> =>
  readFile(join(server.dataDir, '..', 'server.log'), 'utf8');

beforeAll(async () => {
  dir = await openDataFolder();
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  children = [];
  const left = await start();
  await left.stop();
  expect(await readPostmaster(left.dataDir)).toBeUndefined();
  await rm(dir, { recursive: true });
});

describe('one process', () => {
  it('starts it, and finds port, password and data again', async () => {
    const progress: string[] = [];
    const first = await startEmbedded({ dir, fsync: false, onProgress: (message) => progress.push(message) });
    expect(first.startedByUs).toBe(true);
    expect(progress[0]).toMatch(/^Creating a PostgreSQL 18 in /u);
    await ask(first, 'create table kept as select 42 as n');
    await first.stop();
    await first.stop();
    expect(await readPostmaster(first.dataDir)).toBeUndefined();
    const second = await start();
    expect(second.url).toBe(first.url);
    expect(await ask(second, 'select n from kept')).toEqual({ n: 42 });
    await second.stop();
  });

  it('keeps its secret to itself, and listens on this machine only', async () => {
    const server = await start();
    const { mode } = await stat(join(dir, 'postgres', 'password'));
    expect(mode & 0o777).toBe(0o600);
    expect(
      await ask(
        server,
        `select current_setting('listen_addresses') as listen,
                                     current_setting('unix_socket_directories') as sockets`,
      ),
    ).toEqual({
      listen: '127.0.0.1',
      sockets: '',
    });
    const url = new URL(server.url);
    expect(await logOf(server)).not.toContain(url.password);
    url.password = '';
    await expect(ask({ ...server, url: url.toString() }, 'select 1')).rejects.toThrow(/password/u);
    await server.stop();
  });

  it('is a UTF-8 database whose order no library update changes', async () => {
    const server = await start();
    expect(
      await ask(
        server,
        `select pg_encoding_to_char(encoding) as encoding, datlocale as locale,
                                current_setting('TimeZone') as zone from pg_database where datname = 'pgstrata'`,
      ),
    ).toEqual({ encoding: 'UTF8', locale: 'C.UTF-8', zone: 'UTC' });
    await server.stop();
  });

  it('takes another port when its own is taken, and keeps that', async () => {
    const before = await start();
    await before.stop();
    const foreign = createServer();
    foreign.listen(before.port, '127.0.0.1');
    await once(foreign, 'listening');
    const moved = await start();
    expect(moved.port).not.toBe(before.port);
    expect(await ask(moved, 'select n from kept')).toEqual({ n: 42 });
    await moved.stop();
    foreign.close();
    await once(foreign, 'close');
    const after = await start();
    expect(after.port).toBe(moved.port);
    await after.stop();
  });

  it('refuses data of another major version, with the way out', async () => {
    const server = await start();
    await server.stop();
    const file = join(server.dataDir, 'PG_VERSION');
    await writeFile(file, '13\n');
    await expect(start()).rejects.toMatchObject({
      kind: 'config',
      message: expect.stringContaining('was made by PostgreSQL 13; this is PostgreSQL 18.'),
      detail: { remedy: expect.stringContaining('Dump it') },
    });
    await writeFile(file, '18\n');
  });

  it('says what the log says when the server cannot start', async () => {
    await expect(startEmbedded({ dir, settings: { shared_buffers: 'nonsense' } })).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringContaining('invalid value for parameter "shared_buffers"'),
    });
  });
});

describe('several processes', () => {
  it('share one server; the last to leave stops it', async () => {
    const [one, other] = await Promise.all([startChild(), startChild()]);
    expect(one.startedByUs).not.toBe(other.startedByUs);
    expect(one.port).toBe(other.port);
    const third = await start();
    await signalGroup(one.startedByUs ? one : other, 'SIGTERM');
    expect(await ask(third, 'select 1 as one')).toEqual({ one: 1 });
    await third.stop();
    const postmaster = await readPostmaster(third.dataDir);
    expect(isAlive(postmaster?.pid ?? 0)).toBe(true);
    await signalGroup(one.startedByUs ? other : one, 'SIGINT');
    expect(await readPostmaster(third.dataDir)).toBeUndefined();
    expect(await logOf(third)).toMatch(/database system is shut down\n$/u);
  });

  it('or several calls of one process do so too', async () => {
    const servers = await Promise.all([start(), start(), start()]);
    expect(servers.filter((server) => server.startedByUs)).toHaveLength(1);
    for (const server of servers) {
      expect(await ask(server, 'select 1 as one')).toEqual({ one: 1 });
      await server.stop();
    }
    expect(await readPostmaster(servers[0]?.dataDir ?? '')).toBeUndefined();
  });

  it('leave it running for a foreign session', async () => {
    const server = await start();
    const guest = new Client({ connectionString: server.url });
    await guest.connect();
    await server.stop();
    expect((await guest.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await guest.end();
    const again = await start();
    expect(again.startedByUs).toBe(false);
    await again.stop();
    expect(await readPostmaster(again.dataDir)).toBeUndefined();
  });

  it('Ctrl-C in the terminal of the one that started it stops it in order', async () => {
    const child = await startChild();
    expect(child.startedByUs).toBe(true);
    await signalGroup(child, 'SIGINT');
    expect(child.process.exitCode).toBe(0);
    const dataDir = join(dir, 'postgres', 'server', 'data');
    expect(await readPostmaster(dataDir)).toBeUndefined();
    expect(await logOf({ dataDir })).toMatch(/database system is shut down\n$/u);
  });
});

describe('a crash', () => {
  it('of the process that started it leaves it to the next', async () => {
    const child = await startChild();
    await signalGroup(child, 'SIGKILL');
    const server = await start();
    expect(server).toMatchObject({ startedByUs: false, port: child.port });
    await server.stop();
    expect(await readPostmaster(server.dataDir)).toBeUndefined();
  });

  it('is not needed to leave it running: to forget stop() is enough, and the process ends all the same', async () => {
    const child = await startChild('forget');
    if (child.process.exitCode === null) await once(child.process, 'exit');
    expect(child.process.exitCode).toBe(0);
    const server = await start();
    expect(server.startedByUs).toBe(false);
    await server.stop();
  });

  it('while it was being started leaves a lock that the next one takes over', async () => {
    const dead = spawn(process.execPath, ['-e', '']);
    await once(dead, 'exit');
    for (const holder of [dead.pid, process.pid]) {
      await writeFile(join(dir, 'postgres', 'start.lock'), `${holder}\n`);
      const server = await start();
      await server.stop();
    }
  });

  it('of the server is mended by the next start; stop() copes with it', async () => {
    const first = await start();
    const postmaster = await readPostmaster(first.dataDir);
    process.kill(postmaster?.pid ?? 0, 'SIGKILL');
    await until('the server to be gone', () => !isAlive(postmaster?.pid ?? 0));
    await first.stop();
    const second = await start();
    expect(second.startedByUs).toBe(true);
    expect(await ask(second, 'select n from kept')).toEqual({ n: 42 });
    await second.stop();
  });

  it('of the machine leaves a pid that is somebody else’s by now', async () => {
    const first = await start();
    const file = join(first.dataDir, 'postmaster.pid');
    const text = await readFile(file, 'utf8');
    await first.stop();
    const user = await serverUser();
    const foreign = spawn(
      '/bin/sh',
      ['-c', 'read nothing'],
      user === undefined ? {} : { uid: user.uid, gid: user.gid },
    );
    await once(foreign, 'spawn');
    await writeFile(file, text.replace(/^\d+/u, String(foreign.pid)));
    if (user !== undefined) await chmod(file, 0o666);
    const second = await start();
    expect(second.startedByUs).toBe(true);
    expect(foreign.exitCode).toBe(null);
    foreign.kill();
    await second.stop();
  });
});

describe.runIf(asRoot)('as root', () => {
  it('keeps the data where its user can reach it when the project is closed', async () => {
    const closed = await mkdtemp(join(tmpdir(), 'pgstrata-closed-'));
    const server = await startEmbedded({ dir: join(closed, '.pgstrata'), fsync: false });
    try {
      expect(server.dataDir.startsWith(ROOT_PLACE)).toBe(true);
      expect((await stat(server.dataDir)).uid).toBe((await serverUser())?.uid);
      expect(await ask(server, 'select current_user as me')).toEqual({ me: 'pgstrata' });
    } finally {
      await server.stop();
      await rm(dirname(server.dataDir), { recursive: true });
      await rm(closed, { recursive: true });
    }
  });

  it('copies binaries its user cannot reach, and mends what no install script did', async () => {
    const user = await serverUser();
    const native = join(await embeddedBinaries(user), '..');
    const closed = await mkdtemp(join(tmpdir(), 'pgstrata-closed-'));
    const copy = join(closed, 'native');
    await cp(native, copy, {
      recursive: true,
      filter: (path) => !/\.so\.\d+$|libpq\.so$/u.test(path) || /libz|xml2|xslt|lzma|uuid/u.test(path),
    });
    await chmod(join(copy, 'bin', 'postgres'), 0o644);
    const binDir = await runnableBinaries(copy, user);
    expect(binDir.startsWith(ROOT_PLACE)).toBe(true);
    const server = await startEmbedded({ dir: join(closed, '.pgstrata'), fsync: false, binDir });
    await server.stop();
    for (const path of [closed, dirname(server.dataDir), dirname(binDir)])
      await rm(path, { recursive: true });
  });
});
