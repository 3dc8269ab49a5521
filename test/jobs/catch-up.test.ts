/** Parallel catch-up: the tables are those of one clean pass, however history is cut, however many workers load it. */
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { ChainOptions, SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { createPool } from '../../src/db/pool.ts';
import type { IngestEvent } from '../../src/jobs/ingest.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { follow, load, LOGS, TRANSFERS } from './loading.ts';
import { logsOf, storedLogs } from './log-rows.ts';
import { expectChain, expectSame, ledgerOf, openTransactions, wrongBalances } from './oracle.ts';

const database = useDatabase();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});
afterAll(async () => expect(await wrongBalances(database.pool)).toEqual([]));

let chains = 0;

/** A chain of its own tokens: balances of one test are none of the next one's business. */
const serve = async (options: ChainOptions = {}): Promise<Devnet<SimulatedChain>> => {
  const chain = createChain({
    seed: (chains += 1),
    accounts: 20,
    tokens: 3,
    transfersPerBlock: 3,
    logsPerBlock: 3,
    blocks: 150,
    blockSeconds: 1500,
    ...options,
  });
  const devnet = await startDevnet({ chain, rowsPerMessage: 50, keepAliveRate: 0.2 });
  cleanups.push(devnet.stop);
  return devnet;
};

const LOGS_BY_HEIGHT = String(LOGS['query']).replace('_block_num,', 'block_num AS height,');

let streams = 0;
const newStream = (): string => `catch_up_${(streams += 1)}`;

const partitionsIn = (
  events: readonly IngestEvent[],
  state: string,
): readonly (readonly [number, number])[] =>
  events.flatMap((event) =>
    event.kind === 'partition' && event.state === state ? [[event.from, event.to] as const] : [],
  );

describe('a whole chain', () => {
  test.each([1, 8])('%i workers load each block once, and the newest blocks last', async (workers) => {
    const { url, chain } = await serve();
    const stream = newStream();
    const events: IngestEvent[] = [];
    const parallel = { workers, partition_blocks: 23, reorg_buffer: 50 };
    const result = await load({
      pool: database.pool,
      url,
      stream,
      settings: { ...TRANSFERS, parallel },
      onEvent: (event) => events.push(event),
    });
    expect(result).toMatchObject({ end: 'complete', blocks: 150, reorgs: 0 });
    await expectChain(database.pool, stream, chain);
    const ledger = await ledgerOf(database.pool, stream);
    expect(ledger.at(-1)).toMatchObject({ start: 100, end: 149, hash: chain.view().hashOf(149) });
    expect(partitionsIn(events, 'loaded')).toHaveLength(ledger.length - 1);
    expect(events.findLast((event) => event.kind === 'catch-up')).toMatchObject({ done: 100, total: 100 });
    // What is committed is known by the hash of its head: a run without news asks for nothing but the head.
    expect(
      await load({ pool: database.pool, url, stream, settings: { ...TRANSFERS, parallel } }),
    ).toMatchObject({
      end: 'nothing new',
      rows: 0,
    });
  });

  test('any size: partitions, rows and tuned workers; and rows into a table of their own', async () => {
    const { url, chain } = await serve();
    for (const parallel of [{ partitions: 5 }, { target_rows: 40 }, { workers: 'auto', target_rows: 100 }]) {
      const stream = newStream();
      // The block's column has the name that the query gives it.
      const block = 'partitions' in parallel ? { block: 'height', query: LOGS_BY_HEIGHT } : {};
      const settings = { ...LOGS, ...block, table: stream, parallel: { reorg_buffer: 20, ...parallel } };
      await load({ pool: database.pool, url, stream, settings });
      expectSame(await storedLogs(database.pool, stream), logsOf(chain));
    }
  });
});

test('balances follow in block order while history is still being loaded', async () => {
  // Each partition holds enough rows to be folded at once, whichever of them is committed when.
  const { url, chain } = await serve({ transfersPerBlock: 340, blocks: 165 });
  const stream = newStream();
  const folded = async (): Promise<number> => {
    const { rows } = await database.pool.query<{ block: number }>(
      `select coalesce(min(p.folded_block), -1) as block from strata.fold_progress p join strata.sources s using (source_id) where s.stream = $1`,
      [stream],
    );
    return rows[0]!.block;
  };
  const parallel = { workers: 3, partition_blocks: 30, reorg_buffer: 5, bulk: false };
  let behind = -1;
  const result = await load({
    pool: database.pool,
    url,
    stream,
    settings: { ...TRANSFERS, parallel },
    // The partition in the middle is late: what is behind it is loaded, but not folded before it.
    retry: async (work, { from }) => {
      if (from === 122) await until('the fold up to the hole', async () => (behind = await folded()) === 121);
      return work();
    },
  });
  expect(result).toMatchObject({ end: 'complete' });
  expect(behind).toBe(121);
  await expectChain(database.pool, stream, chain);
});

describe('the hand-over', () => {
  test('blocks that fork while history is loaded are those of the last fork', async () => {
    const { url, chain } = await serve();
    const stream = newStream();
    let forks = 0;
    await load({
      pool: database.pool,
      url,
      stream,
      settings: { ...TRANSFERS, parallel: { workers: 2, partition_blocks: 15, reorg_buffer: 50 } },
      onEvent: (event) => {
        if (event.kind !== 'partition' || event.state !== 'loaded') return;
        forks += 1;
        chain.reorg(40, 41);
      },
    });
    expect(forks).toBeGreaterThan(5);
    await expectChain(database.pool, stream, chain);
  });

  test('what an earlier run left in the buffer without a hash is replaced, not added to', async () => {
    const { url, chain } = await serve();
    const stream = newStream();
    await load({ pool: database.pool, url, stream, settings: TRANSFERS, to: 130 });
    chain.reorg(40, 60);
    const parallel = { workers: 2, partition_blocks: 30, reorg_buffer: 100 };
    const result = await load({ pool: database.pool, url, stream, settings: { ...TRANSFERS, parallel } });
    expect(result).toMatchObject({ end: 'complete', reorgs: 0 });
    await expectChain(database.pool, stream, chain);
  });

  test.each([
    ['of one block', 1, true],
    ['of thirty blocks', 30, true],
    ['of one block, by a server that forgets forks', 1, false],
    ['of thirty blocks, by a server that forgets forks', 30, false],
  ])(
    'goes on live, and is told of a reorg %s behind the hash it knows',
    async (_depth, depth, remembersForks) => {
      const { url, chain } = await serve({ remembersForks });
      const stream = newStream();
      const settings = { ...TRANSFERS, parallel: { workers: 4, partition_blocks: 25, reorg_buffer: 50 } };
      const following = follow({ pool: database.pool, url, stream, settings });
      await until('the head', () => following.committed() === 149);
      chain.reorg(depth, depth + 2);
      await until('the other fork', () => following.committed() === 151);
      chain.advance(3);
      await until('three more blocks', () => following.committed() === 154);
      chain.reorg(10, 11);
      await until('another fork', () => following.committed() === 155);
      expect(await following.stop()).toMatchObject({ end: 'stopped', reorgs: 2 });
      await expectChain(database.pool, stream, chain);
    },
  );

  test('a fork while nobody looked is found before history behind it is loaded', async () => {
    const { url, chain } = await serve({ transfersPerBlock: 1 });
    const stream = newStream();
    const settings = { ...TRANSFERS, parallel: { workers: 2, partition_blocks: 300, reorg_buffer: 50 } };
    await load({ pool: database.pool, url, stream, settings });
    chain.reorg(30, 1200);
    expect(await load({ pool: database.pool, url, stream, settings })).toMatchObject({
      end: 'complete',
      reorgs: 1,
    });
    await expectChain(database.pool, stream, chain);
  });

  test('a hole is filled while the stream is live', async () => {
    const { url, chain } = await serve();
    const stream = newStream();
    await load({ pool: database.pool, url, stream, settings: TRANSFERS, from: 100 });
    const settings = { ...TRANSFERS, parallel: { workers: 2, partition_blocks: 10, reorg_buffer: 50 } };
    const stopping = new AbortController();
    const live = Promise.withResolvers<void>();
    let done = 0;
    const following = load({
      pool: database.pool,
      url,
      stream,
      settings,
      from: 0,
      follow: true,
      signal: stopping.signal,
      // One partition begins only when the new block is there.
      retry: async (work, { from }) => {
        if (from === 31) chain.advance(1);
        if (from === 31) await live.promise;
        return work();
      },
      onEvent: (event) => {
        if (event.kind === 'catch-up') ({ done } = event);
        if (event.kind === 'committed' && event.result.ranges.some(({ range }) => range.end === 150))
          live.resolve();
      },
    });
    following.catch(live.reject);
    await live.promise;
    expect(done).toBeLessThan(100);
    await until('the hole to be filled', () => done === 100);
    stopping.abort();
    expect(await following).toMatchObject({ end: 'stopped', blocks: 101 });
    await expectChain(database.pool, stream, chain);
  });
});

describe('failures', () => {
  /** A run whose server breaks off one of the calls for a partition. */
  const broken = async (parallel: object, more: Partial<Parameters<typeof load>[0]> = {}) => {
    const devnet = await serve();
    const stream = newStream();
    const events: IngestEvent[] = [];
    const request = {
      pool: database.pool,
      url: devnet.url,
      stream,
      settings: {
        ...TRANSFERS,
        parallel: { workers: 2, partition_blocks: 20, reorg_buffer: 50, ...parallel },
      },
      onEvent: (event: IngestEvent): void => {
        events.push(event);
        if (event.kind === 'partition' && event.state === 'loading' && event.from === 41)
          devnet.failNext({ afterMessages: 0 });
      },
      ...more,
    };
    return { chain: devnet.chain, stream, events, request };
  };

  test('end the run where it is told so; the next one fills the hole first', async () => {
    const { chain, stream, events, request } = await broken({});
    const error = await failureOf(load(request));
    expect(error).toMatchObject({
      kind: 'connection',
      detail: { stream, block: expect.any(Number) as number },
    });
    expect(partitionsIn(events, 'failed')).toHaveLength(1);
    expect(await load({ ...request, onEvent: () => undefined })).toMatchObject({ end: 'complete' });
    await expectChain(database.pool, stream, chain);
  });

  test('or are gone past, and told at the end', async () => {
    const { chain, stream, events, request } = await broken({ stop_on_error: false });
    const error = await failureOf(load(request));
    const [[from, to] = [0, 0]] = partitionsIn(events, 'failed');
    expect(error).toMatchObject({ kind: 'connection', detail: { stream, grpcStatus: 'UNAVAILABLE' } });
    expect(error.message).toContain(`blocks ${from}–${to - 1}`);
    const again: IngestEvent[] = [];
    await load({ ...request, onEvent: (event) => again.push(event) });
    expect(partitionsIn(again, 'loaded')).toEqual([[from, to]]);
    await expectChain(database.pool, stream, chain);
  });

  test('a partition with too many rows is loaded in pieces', async () => {
    const { url, chain } = await serve({ transfersPerBlock: 30, blocks: 60 });
    const stream = newStream();
    const events: IngestEvent[] = [];
    const settings = { ...TRANSFERS, parallel: { workers: 2, target_rows: 20, reorg_buffer: 10 } };
    await load({ pool: database.pool, url, stream, settings: TRANSFERS, to: 1 });
    await load({ pool: database.pool, url, stream, settings: TRANSFERS, from: 55 });
    await load({ pool: database.pool, url, stream, settings, onEvent: (event) => events.push(event) });
    expect(partitionsIn(events, 'too large').length).toBeGreaterThan(0);
    await expectChain(database.pool, stream, chain);
  });
});

describe('connections and processes', () => {
  test.each([3, 5])('eight workers share a pool of %i', async (max) => {
    const { url, chain } = await serve({ blocks: 80 });
    const stream = newStream();
    const pool = createPool(database.url, { max, connectLimitMs: 2000 });
    cleanups.push(() => pool.end());
    const settings = { ...TRANSFERS, parallel: { workers: 8, partition_blocks: 5, reorg_buffer: 20 } };
    expect(await load({ pool, url, stream, settings })).toMatchObject({ end: 'complete' });
    await expectChain(database.pool, stream, chain);
  });

  test('of two processes on one stream one loads it, the other says so', async () => {
    const { url, chain } = await serve({ blocks: 80 });
    const stream = newStream();
    const settings = { ...TRANSFERS, parallel: { workers: 3, partition_blocks: 5, reorg_buffer: 20 } };
    const runs = await Promise.allSettled(
      [database.pool, createPool(database.url)].map(async (pool) => {
        if (pool !== database.pool) cleanups.push(() => pool.end());
        return load({ pool, url, stream, settings });
      }),
    );
    expect(runs.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(runs.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { kind: 'conflict' } });
    await expectChain(database.pool, stream, chain);
  });

  test('whose stream was taken over commits nothing more', async () => {
    const { url, chain } = await serve();
    const stream = newStream();
    const settings = {
      ...TRANSFERS,
      parallel: { workers: 3, partition_blocks: 10, reorg_buffer: 20, stop_on_error: false },
    };
    let taken: Promise<unknown> | null = null;
    const request = { pool: database.pool, url, stream, settings };
    const error = await failureOf(
      load({
        ...request,
        // What comes behind does not overtake the one that takes over.
        retry: async (work) => {
          await taken;
          return work();
        },
        onEvent: (event) => {
          if (event.kind === 'catch-up' && event.done > 50)
            taken ??= database.pool.query('update strata.streams set epoch = epoch + 1 where stream = $1', [
              stream,
            ]);
        },
      }),
    );
    expect(error).toMatchObject({ kind: 'conflict', message: expect.stringMatching(/taken over/) as string });
    await load(request);
    await expectChain(database.pool, stream, chain);
  });
});
