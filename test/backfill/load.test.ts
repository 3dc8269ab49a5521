/** History loaded week by week beside the set: the same tables as loading it the ordinary way, to the last index. */
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { createChain, type ChainOptions, type SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { foldStream } from '../../src/jobs/fold.ts';
import type { IngestEvent } from '../../src/jobs/ingest.ts';
import { readHistory } from '../../src/warehouse/backfill/status.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { valueOf } from '../balances/harness.ts';
import { expectExact } from '../balances/tables.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { expectChain } from '../jobs/oracle.ts';
import { load, TRANSFERS, type LoadRequest } from '../jobs/loading.ts';
import { journalOf, rowsOf, shapeOf } from './tables.ts';

const database = useDatabase();

/** Blocks of two hours for six weeks less a few hours, from a Sunday on. */
const CHAIN: ChainOptions = {
  seed: 5,
  accounts: 30,
  tokens: 3,
  transfersPerBlock: 3,
  blocks: 500,
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
  expect(journal).toHaveLength(6);
  expect(new Set(journal.map(({ state, folded }) => `${state} ${folded}`))).toEqual(
    new Set(['attached whole']),
  );
  expect(events.filter(({ kind }) => kind === 'week')).toHaveLength(6);
  expect((await verifyBalances(bulk, { oneIn: 1 })).differences).toBe(0);
});

describe('while it is loaded', () => {
  test('readers see whole weeks only, verify finds nothing wrong, and status tells of the rest', async () => {
    const { url, chain } = await serve({ blocks: 420 });
    const pool = await emptyPool();
    const seen: Promise<readonly [Map<string, number>, number, Awaited<ReturnType<typeof readHistory>>]>[] =
      [];
    const look = async (): Promise<Awaited<(typeof seen)[number]>> => {
      const { rows } = await pool.query<{ week: string; rows: number }>(
        `select strata.week_start(block_time)::text as week, count(*)::int as rows from strata.balance_changes group by 1`,
      );
      const { differences } = await verifyBalances(pool, { oneIn: 1 });
      return [new Map(rows.map((row) => [row.week, row.rows])), differences, await readHistory(pool)];
    };
    await loadHistory(
      {
        pool,
        url,
        onEvent: ({ kind }) => {
          if (kind === 'week' || (kind === 'committed' && seen.length < 3)) seen.push(look());
        },
      },
      { workers: 2 },
    );
    await expectChain(pool, 'history', chain);
    const [whole] = await look();
    const looks = await Promise.all(seen);
    // The newest week is loaded last, and by more than one commit.
    const newest = [...whole.keys()].toSorted().at(-1);
    for (const [weeks, differences] of looks) {
      expect(differences).toBe(0);
      for (const [week, rows] of weeks)
        if (week !== newest) expect([week, rows]).toEqual([week, whole.get(week)]);
    }
    expect(looks.some(([, , { weeks }]) => weeks.some(({ bytes }) => bytes > 0))).toBe(true);
    expect(await readHistory(pool)).toMatchObject({ weeks: [], attached: 5, eta_seconds: null });
  });

  test('a second run of the stream is refused, and one of another stream finds its rows a place', async () => {
    const { url, chain } = await serve({ blocks: 300 });
    const other = await serve({ blocks: 250, seed: 6 });
    const pool = await emptyPool();
    const met: Promise<unknown>[] = [];
    await loadHistory({
      pool,
      url,
      onEvent: ({ kind }) => {
        if (kind !== 'committed' || met.length > 0) return;
        met.push(
          failureOf(loadHistory({ pool, url })),
          load({ pool, url: other.url, stream: 'live', settings: TRANSFERS, now: NOW }),
        );
      },
    });
    const [refused] = await Promise.all(met);
    expect(refused).toMatchObject({ kind: 'conflict' });
    await expectChain(pool, 'history', chain);
    await expectChain(pool, 'live', other.chain);
    await expectExact(pool);
    expect((await verifyBalances(pool, { oneIn: 1 })).differences).toBe(0);
  });
});

/** Loads until so many partitions are committed, and stops. */
const loadSome = async (pool: Pool, url: string, partitions: number): Promise<void> => {
  const stopping = new AbortController();
  let left = partitions;
  await loadHistory(
    {
      pool,
      url,
      signal: stopping.signal,
      onEvent: ({ kind }) => {
        if (kind === 'committed' && --left === 0) stopping.abort(new Error('enough'));
      },
    },
    { workers: 1, partition_blocks: 30 },
  );
};

describe('weeks that an earlier run has left beside the set', () => {
  test('take their rows from any stream, give them back to a fork, and keep retention away', async () => {
    const { url, chain } = await serve({ blocks: 300 });
    const other = await serve({ blocks: 60, seed: 6 });
    const pool = await emptyPool();
    await loadSome(pool, url, 2);
    const left = await journalOf(pool);
    expect(left.length).toBeGreaterThan(0);
    expect(new Set(left.map(({ state }) => state))).toEqual(new Set(['building']));
    await load({ pool, url: other.url, stream: 'live', settings: TRANSFERS, now: NOW, to: 40 });
    expect(await valueOf(pool, 'select count(*)::int from strata.balance_changes')).toBe(0);
    expect((await verifyBalances(pool, { oneIn: 1 })).differences).toBe(0);
    await expect(
      pool.query(`select strata.begin_retention('balance_changes', '2026-02-01', '{}')`),
    ).rejects.toThrow(/wait to be folded/);
    // Deeper than all that is loaded of the first stream but its first blocks.
    chain.reorg(295, 300);
    await load({ pool, url: other.url, stream: 'live', settings: TRANSFERS, now: NOW });
    await load({ pool, url, stream: 'history', settings: TRANSFERS, now: NOW });
    await expectChain(pool, 'history', chain);
    await expectChain(pool, 'live', other.chain);
    await expectExact(pool);
    expect((await verifyBalances(pool, { oneIn: 1 })).differences).toBe(0);
    expect((await journalOf(pool)).filter(({ state }) => state !== 'attached')).toEqual([]);
  });

  test('are opened for no week that balances have reached or passed', async () => {
    const { url, chain } = await serve({ blocks: 300 });
    const other = await serve({ blocks: 200, seed: 6 });
    const pool = await emptyPool();
    await load({ pool, url: other.url, stream: 'live', settings: TRANSFERS, now: NOW });
    await loadHistory({ pool, url });
    const journal = await journalOf(pool);
    // 200 blocks of two hours end in the third week.
    expect(journal.map(({ week }) => week)).toEqual(['2026-01-25']);
    await expectChain(pool, 'history', chain);
    await expectExact(pool);
  });

  test('wait for the fold where that is deferred, and no more than so many stand there at once', async () => {
    const { url, chain } = await serve({ blocks: 300, blockSeconds: 86_400 });
    const pool = await emptyPool();
    const settings = {
      ...TRANSFERS,
      fold: 'deferred',
      parallel: parallelOf({ workers: 1, partition_blocks: 290 }),
    };
    await load({ pool, url, stream: 'history', settings, now: NOW });
    const journal = await journalOf(pool);
    expect(journal).toHaveLength(32);
    expect(new Set(journal.map(({ folded }) => folded))).toEqual(new Set(['no']));
    await expectChain(pool, 'history', chain);
    expect(await valueOf(pool, 'select count(*)::int from strata.account_balances')).toBe(0);
    await foldStream({ pool, stream: 'history', signal: new AbortController().signal });
    await expectExact(pool);
  });

  test('say which rows are the same change', async () => {
    const { url } = await serve({ blocks: 200, accounts: 3, tokens: 1 });
    const pool = await emptyPool();
    const settings = { ...TRANSFERS, ordinal: '_block_num', parallel: parallelOf({}) };
    const failure = await failureOf(load({ pool, url, stream: 'history', settings, now: NOW }));
    expect(failure).toMatchObject({
      kind: 'data',
      message: expect.stringMatching(
        /^week 2026-01-\d\d of the history: .* account \\x[\da-f]{40}, asset -?\d+, 2026-01-.*, block \d+, position \d+$/,
      ),
      detail: { sqlstate: '23505', block: expect.any(Number), remedy: expect.stringContaining('ordinal') },
    });
    expect(
      await valueOf(pool, `select error from strata.backfill_weeks where error is not null limit 1`),
    ).toContain('same balance change');
  });
});
