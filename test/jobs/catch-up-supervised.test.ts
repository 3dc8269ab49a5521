/** Parallel catch-up of a stream that nobody watches: what it tells of itself, and what one partition's failure costs. */
import { NO_WORK } from '../../src/jobs/tally.ts';
import { afterEach, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { readStatus } from '../../src/warehouse/status.ts';
import { writeHealth } from '../../src/warehouse/stream-health.ts';
import type { StreamHealth } from '../../src/warehouse/stream-health.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { TRANSFERS } from './loading.ts';
import { expectChain, openTransactions } from './oracle.ts';
import { supervise } from './supervised.ts';

const database = useDatabase();

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

test('a partition that fails in passing is asked for again, while the stream goes on; health tells of each worker', async () => {
  const chain = createChain({
    accounts: 10,
    tokens: 2,
    transfersPerBlock: 4,
    blocks: 80,
    blockSeconds: 3000,
  });
  const devnet = await startDevnet({ chain, rowsPerMessage: 20 });
  cleanups.push(devnet.stop);
  const told: StreamHealth[] = [];
  let planned = 0;
  const live = supervise({
    url: database.url,
    server: devnet.url,
    stream: 'watched',
    pool: { connectLimitMs: 20_000 },
    watchEvery_ms: 1_000_000,
    settings: { ...TRANSFERS, parallel: { workers: 2, partition_blocks: 10, reorg_buffer: 20 } },
    health: {
      note: (health) => {
        told.push(health);
        // One at a time, since who asks for the head may be the one who meets it.
        const { workers = [] } = health.catch_up ?? {};
        if (workers.length === 2 && live.retries() === 0 && planned++ < 3)
          devnet.failNext({ afterMessages: 1 });
      },
      close: () => Promise.resolve(),
    },
  });
  cleanups.push(live.end);
  await until('the head', () => live.committed() === 79);
  chain.advance(1);
  await until('a new block', () => live.committed() === 80);
  expect(await live.stop()).toMatchObject({ end: 'stopped', blocks: 81, reorgs: 0 });
  expect(live.retries()).toBeGreaterThan(0);
  expect(live.events.filter(({ kind }) => kind === 'begun')).toHaveLength(1);
  const shown = told.flatMap(({ catch_up: catchUp }) => (catchUp === null ? [] : [catchUp]));
  expect(new Set(shown.flatMap(({ workers }) => workers.map(({ worker }) => worker)))).toEqual(
    new Set([1, 2]),
  );
  expect(shown[0]).toMatchObject({ done: 0, total: 60 });
  expect(Math.max(...shown.map(({ done }) => done))).toBeGreaterThan(30);
  expect(Math.max(...shown.map(({ rows }) => rows))).toBeGreaterThan(30 * 4 - 1);
  const tallies = shown.flatMap(({ workers }) => workers.map(({ partitions }) => partitions));
  expect(Math.max(...tallies)).toBeGreaterThan(0);
  expect(told.at(-1)).toMatchObject({ state: 'stopped', catch_up: null, retries: live.retries() });
  await expectChain(database.pool, 'watched', chain);
});

test('status shows the workers and the holes they fill, wherever it runs', async () => {
  const { rows } = await database.pool.query<{ stream: string }>('select stream from strata.streams limit 1');
  const { stream } = rows[0]!;
  await database.pool.query(
    `delete from strata.stream_batches where start_block in (11, 31) and source_id in (select source_id from strata.sources where stream = $1)`,
    [stream],
  );
  const workers = [
    { worker: 1, from: 11, to: 21, partitions: 3, rows: 70 },
    { worker: 2, from: 31, to: 41, partitions: 0, rows: 0 },
  ];
  const health: StreamHealth = {
    stream,
    state: 'running',
    failures: 0,
    retries: 1,
    next_try_at: null,
    last_error: null,
    breaker: 'closed',
    rate_delay_ms: 0,
    heads: { devnet: 90 },
    catch_up: { network: 'devnet', done: 0, total: 20, rows: 0, workers },
    started_at: '2026-01-05T00:00:00.000Z',
    work: NO_WORK,
    reorgs: [],
  };
  await writeHealth(database.pool, { host: 'elsewhere', pid: 1 }, [health]);
  expect((await readStatus(database.pool)).streams).toMatchObject([
    { stream, gaps: 2, gap_blocks: 20, workers, catch_up: { done: 0, total: 20, rows: 0 }, lag_blocks: 10 },
  ]);
  await writeHealth(database.pool, { host: 'elsewhere', pid: 1 }, [{ ...health, state: 'stopped' }]);
  expect((await readStatus(database.pool)).streams).toMatchObject([{ workers: [], catch_up: null }]);
});
