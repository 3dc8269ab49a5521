/** Runs the tests on a locally installed PostgreSQL 15, the oldest we support; says so when there is none. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

import { startEmbedded } from '../src/db/embedded.ts';
import { TEST_SERVER_SETTINGS, openDataFolder } from '../test/postgres.ts';

const BIN_DIRS = [
  process.env['PG15_BIN'] ?? '',
  '/usr/lib/postgresql/15/bin',
  '/usr/pgsql-15/bin',
  '/opt/homebrew/opt/postgresql@15/bin',
  '/usr/local/opt/postgresql@15/bin',
];

const runTests = async (url: string, args: readonly string[]): Promise<number> => {
  const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '..', 'vitest.mjs');
  const tests = spawn(process.execPath, [vitest, 'run', ...args], {
    stdio: 'inherit',
    env: { ...process.env, TEST_DATABASE_URL: url },
  });
  // Ctrl-C reaches vitest as well; we stay until it is done, to stop the server.
  process.on('SIGINT', () => undefined);
  const [code] = (await once(tests, 'exit')) as [number | null];
  return code ?? 1;
};

const onServer = async (binDir: string, args: readonly string[]): Promise<number> => {
  const dir = await openDataFolder();
  try {
    const server = await startEmbedded({
      dir,
      binDir,
      database: 'postgres',
      fsync: false,
      settings: TEST_SERVER_SETTINGS,
      onProgress: (message) => process.stderr.write(`${message}\n`),
    });
    try {
      return await runTests(server.url, args);
    } finally {
      await server.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

const found = BIN_DIRS.find((binDir) => binDir !== '' && existsSync(join(binDir, 'initdb')));
if (found === undefined) {
  process.stderr.write(
    '\n*** NOT TESTED ON POSTGRESQL 15: there is none here. Install it, or set PG15_BIN to its bin directory. ***\n\n',
  );
} else {
  process.exitCode = await onServer(found, process.argv.slice(2));
}
