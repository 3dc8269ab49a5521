/** Servers of other makers: fetched once into a cache folder, started and stopped by the test that needs them. */
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { messageOf } from '../../src/runtime/errors.ts';

/** Where downloads are kept between runs. */
const CACHE = process.env['PGSTRATA_INTEROP_CACHE'] ?? join(tmpdir(), 'pgstrata-interop');

/** Longest a download and build may take. */
const BUILD_TIMEOUT_MS = 540_000;
/** Longest a server may take to say that it listens. */
const START_TIMEOUT_MS = 30_000;

const GO_SERVER =
  'github.com/apache/arrow-go/v18/arrow/flight/flightsql/example/cmd/sqlite_flightsql_server@v18.8.0';

const run = (command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): void => {
  execFileSync(command, args, { stdio: 'pipe', timeout: BUILD_TIMEOUT_MS, env: { ...process.env, ...env } });
};

/** What `make` makes, or null with a loud word why the tests are skipped. */
const orSkip = (what: string, make: () => string): string | null => {
  try {
    mkdirSync(CACHE, { recursive: true });
    return make();
  } catch (error) {
    console.warn(`SKIPPED: no interop tests with ${what}: ${messageOf(error).slice(0, 500)}`);
    return null;
  }
};

/** A Python with pyarrow, null when it cannot be had here. */
export const pythonWithPyarrow = (): string | null =>
  orSkip('pyarrow', () => {
    const python = join(CACHE, 'venv', 'bin', 'python');
    if (!existsSync(python)) run('python3', ['-m', 'venv', join(CACHE, 'venv')]);
    try {
      run(python, ['-c', 'import pyarrow.flight']);
    } catch {
      run(python, ['-m', 'pip', 'install', '--quiet', 'pyarrow']);
    }
    return python;
  });

/** Arrow's Flight SQL server over SQLite, in Go; null when it cannot be built here. */
export const sqliteServer = (): string | null =>
  orSkip('Go’s Flight SQL server', () => {
    const server = join(CACHE, 'gobin', 'sqlite_flightsql_server');
    if (!existsSync(server))
      run('go', ['install', GO_SERVER], { GOBIN: join(CACHE, 'gobin'), CGO_ENABLED: '0' });
    return server;
  });

/** A running server and the first line it printed. */
export interface Started {
  readonly line: string;
  readonly stop: () => Promise<void>;
}

const firstLine = (child: ChildProcess): Promise<string> =>
  new Promise((resolve, reject) => {
    const complaints: string[] = [];
    const fail = (why: string): void => reject(new Error(`The server ${why}: ${complaints.join('')}`));
    const timer = setTimeout(() => fail('said nothing in time'), START_TIMEOUT_MS);
    child.stderr?.on('data', (text: Buffer) => complaints.push(text.toString()));
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code) => fail(`ended with ${code}`));
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).once('line', (line) => {
      clearTimeout(timer);
      resolve(line);
    });
  });

export const start = async (command: string, args: readonly string[]): Promise<Started> => {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    child.stdin.end();
    child.kill('SIGINT');
    await exited;
  };
  try {
    return { line: await firstLine(child), stop };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
};
