/** kill -9 of the process, and of PostgreSQL, in the middle of a backfill: the next run goes on, and every row is there once. */
import { rm } from 'node:fs/promises';
import { afterEach, expect, test } from 'vitest';
import { startEmbedded } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import { isAlive, readPostmaster } from '../../src/db/server-process.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { openFolder } from '../cli/command.ts';
import { until } from '../db/until.ts';
import { TRANSFERS } from '../jobs/loading.ts';
import { expectChain } from '../jobs/oracle.ts';
import { openDataFolder } from '../postgres.ts';
import { journalOf } from './tables.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** The newest blocks are a year old: every week of theirs has ended. */
const CHAIN = {
  seed: 11,
  accounts: 40,
  tokens: 3,
  transfersPerBlock: 20,
  logsPerBlock: 0,
  blocks: 600,
  blockSeconds: 7_200,
  genesisTime: Date.UTC(2025, 0, 5) / 1000,
};

test('costs nothing but the work in hand', { timeout: 180_000 }, async () => {
  const dir = await openDataFolder();
  const start = () => startEmbedded({ dir, fsync: false, settings: { shared_buffers: '32MB' } });
  let server = await start();
  cleanups.push(async () => {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  });
  await migrate({ connectionString: server.url });
  const chain = createChain(CHAIN);
  const devnet = await startDevnet({ chain });
  cleanups.push(devnet.stop);
  const folder = await openFolder();
  cleanups.push(() => folder.remove());
  await folder.writePolicy({
    servers: { devnet: { url: devnet.url } },
    streams: {
      history: {
        ...TRANSFERS,
        server: 'devnet',
        parallel: { workers: 2, partition_blocks: 40, reorg_buffer: 5 },
      },
    },
  });
  const begin = (sign: string): ReturnType<typeof folder.start> & { readonly reached: Promise<void> } => {
    const reached = Promise.withResolvers<void>();
    const running = folder.start(
      ['ingest', '--backfill', '--json'],
      { DATABASE_URL: server.url, PGSTRATA_LOG: 'info' },
      (line) => {
        if (line.includes(sign)) reached.resolve();
      },
    );
    return { ...running, reached: reached.promise };
  };

  // The process, behind its first commit and behind its first week.
  for (const sign of ['"committed"', '"week attached"']) {
    const running = begin(sign);
    await Promise.race([running.reached, running.finished]);
    running.child.kill('SIGKILL');
    expect(await running.finished).toMatchObject({ signal: 'SIGKILL' });
  }
  // PostgreSQL, with the process waiting for it to come back.
  const running = begin('"committed"');
  await Promise.race([running.reached, running.finished]);
  const { pid } = (await readPostmaster(server.dataDir))!;
  process.kill(pid, 'SIGQUIT');
  await until('the server to be gone', () => !isAlive(pid));
  server = await start();
  const end = await running.finished;
  const last = end.code === 0 ? end : await folder.run(['ingest', '--json'], { DATABASE_URL: server.url });
  expect(last, last.stderr).toMatchObject({ code: 0 });

  const pool = createPool(server.url);
  cleanups.push(() => pool.end());
  await expectChain(pool, 'history', chain);
  expect(await verifyBalances(pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
  const journal = await journalOf(pool);
  expect(journal).toHaveLength(8);
  expect(new Set(journal.map(({ state, folded }) => `${state} ${folded}`))).toEqual(
    new Set(['attached whole']),
  );
});
