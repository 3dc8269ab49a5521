/** History loaded week by week beside the set: the same tables as loading it the ordinary way, to the last index. */
import { afterAll, afterEach, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { createChain, type ChainOptions, type SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { IngestEvent } from '../../src/jobs/ingest.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { useDatabase } from '../database.ts';
import { expectChain } from '../jobs/oracle.ts';
import { load, TRANSFERS, type LoadRequest } from '../jobs/loading.ts';
import { journalOf, rowsOf, shapeOf } from './tables.ts';

const database = useDatabase();

/** Blocks of two hours for eleven weeks and a half, from a Sunday on. */
const CHAIN: ChainOptions = {
  seed: 5,
  accounts: 30,
  tokens: 3,
  transfersPerBlock: 3,
  blocks: 966,
  blockSeconds: 7_200,
};
const NOW = new Date('2027-01-01T00:00:00Z');

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});
const pools: Pool[] = [];
afterAll(() => Promise.all(pools.map((pool) => pool.end())));

const serve = async (
  options: Partial<ChainOptions> = {},
): Promise<{ url: string; chain: SimulatedChain }> => {
  const chain = createChain({ ...CHAIN, ...options });
  const devnet = await startDevnet({ chain });
  closing.push(() => devnet.stop());
  return { url: devnet.url, chain };
};

const emptyPool = async (): Promise<Pool> => {
  const pool = createPool((await database.createDatabase()).url);
  pools.push(pool);
  return pool;
};

const parallelOf = (settings: object): object => ({
  workers: 3,
  partition_blocks: 50,
  reorg_buffer: 5,
  ...settings,
});

const loadHistory = async (
  request: Omit<LoadRequest, 'settings' | 'stream'>,
  settings: object = {},
): Promise<IngestEvent[]> => {
  const events: IngestEvent[] = [];
  await load({
    now: NOW,
    ...request,
    stream: 'history',
    settings: { ...TRANSFERS, parallel: parallelOf(settings) },
    onEvent: (event) => {
      events.push(event);
      request.onEvent?.(event);
    },
  });
  return events;
};

test('ends in the tables of the ordinary way, each week whole', async () => {
  const { url, chain } = await serve();
  const [ordinary, bulk] = [await emptyPool(), await emptyPool()];
  await loadHistory({ pool: ordinary, url }, { bulk: false });
  const events = await loadHistory({ pool: bulk, url });
  await expectChain(bulk, 'history', chain);
  expect(await rowsOf(bulk)).toEqual(await rowsOf(ordinary));
  expect(await shapeOf(bulk)).toEqual(await shapeOf(ordinary));
  expect(await journalOf(ordinary)).toEqual([]);
  const journal = await journalOf(bulk);
  expect(journal).toHaveLength(12);
  expect(new Set(journal.map(({ state, folded }) => `${state} ${folded}`))).toEqual(
    new Set(['attached whole']),
  );
  expect(events.filter(({ kind }) => kind === 'week')).toHaveLength(12);
  expect((await verifyBalances(bulk, { oneIn: 1 })).differences).toBe(0);
});
