/** Loading from end to end on a devnet: every row held against the chain itself. */
import { afterEach, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { ChainOptions, SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet, DevnetOptions } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { failureOf } from '../flight/collect.ts';
import { until } from '../db/until.ts';
import { follow, load, TRANSFERS } from './loading.ts';
import {
  changesOf,
  expectChain,
  expectLedger,
  expectSame,
  ledgerOf,
  openTransactions,
  storedChanges,
  unbalancedAssets,
  wrongBalances,
} from './oracle.ts';

const database = useDatabase();

const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
  expect(await wrongBalances(database.pool)).toEqual([]);
});

const SMALL: ChainOptions = {
  seed: 11,
  accounts: 30,
  tokens: 3,
  transfersPerBlock: 7,
  blocks: 60,
  blockSeconds: 14_400,
};

const serve = async (
  chainOptions: ChainOptions = {},
  options: Omit<DevnetOptions, 'chain'> = {},
): Promise<Devnet<SimulatedChain>> => {
  const devnet = await startDevnet({
    chain: createChain({ ...SMALL, ...chainOptions }),
    microbatchBlocks: 7,
    ...options,
  });
  cleanups.push(devnet.stop);
  return devnet;
};

describe('a whole chain', () => {
  test('becomes two changes per transfer, each in its week; a second run finds nothing new', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'whole', settings: TRANSFERS };
    const result = await load(request);
    const rows = changesOf(chain).length;
    expect(result).toEqual({
      stream: 'whole',
      end: 'complete',
      rows,
      quarantined: 0,
      batches: 9,
      blocks: 60,
      reorgs: 0,
      unmatched: null,
      dropped: 0,
    });
    await expectChain(database.pool, 'whole', chain);
    expect(await unbalancedAssets(database.pool)).toBe(0);
    const { rows: assets } = await database.pool.query(
      'select distinct network, standard, token_id from strata.assets',
    );
    expect(assets).toEqual([{ network: 'devnet', standard: 'erc20', token_id: null }]);

    expect(await load(request)).toEqual({
      stream: 'whole',
      end: 'nothing new',
      rows: 0,
      quarantined: 0,
      batches: 0,
      blocks: 0,
      reorgs: 0,
      unmatched: null,
      dropped: 0,
    });
    await expectChain(database.pool, 'whole', chain);
  });

  test.each([
    ['smaller than a microbatch, so that microbatches are written in parts', 5],
    ['a few microbatches', 150],
    ['larger than the chain', 1_000_000],
  ])('is the same whatever a commit holds: %s', async (_, commitRows) => {
    const { url, chain } = await serve({}, { rowsPerMessage: 10, keepAliveRate: 0.3 });
    const stream = `commits_of_${commitRows}`;
    await load({ pool: database.pool, url, stream, settings: { ...TRANSFERS, commit_rows: commitRows } });
    await expectChain(database.pool, stream, chain);
  });

  test('that is empty is nothing, and what it becomes later is loaded', async () => {
    const { url, chain } = await serve({ blocks: 0 });
    const request = { pool: database.pool, url, stream: 'late', settings: TRANSFERS };
    expect((await load(request)).end).toBe('nothing synced');
    expect(await ledgerOf(database.pool, 'late')).toEqual([]);
    chain.advance(20);
    expect((await load(request)).end).toBe('complete');
    await expectChain(database.pool, 'late', chain);
  });

  test('with positions counted where no column gives them', async () => {
    const { url, chain } = await serve({}, { rowsPerMessage: 5 });
    const { ordinal: _ordinal, ...settings } = TRANSFERS as { ordinal: string };
    await load({ pool: database.pool, url, stream: 'counted', settings });
    await expectChain(database.pool, 'counted', chain);
  });
});

describe('a second run', () => {
  test('goes on behind the last committed block, and asks for nothing before it', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'resumed', settings: TRANSFERS };
    await load(request);
    const before = await ledgerOf(database.pool, 'resumed');
    chain.advance(25);
    const result = await load(request);
    expect(result).toMatchObject({ end: 'complete', blocks: 25, rows: 25 * 7 * 2 });
    expect((await ledgerOf(database.pool, 'resumed')).slice(0, before.length)).toEqual(before);
    await expectChain(database.pool, 'resumed', chain);
  });

  test('goes on after a server that failed in the middle', async () => {
    const devnet = await serve({}, { rowsPerMessage: 7 });
    const request = {
      pool: database.pool,
      url: devnet.url,
      stream: 'broken_off',
      settings: { ...TRANSFERS, commit_rows: 1 },
    };
    for (const afterMessages of [4, 25, 11]) {
      devnet.failNext({ afterMessages: 100 }); // the question for the head
      devnet.failNext({ afterMessages });
      const error = await failureOf(load(request));
      expect(error).toMatchObject({
        kind: 'connection',
        detail: { stream: 'broken_off', grpcStatus: 'UNAVAILABLE' },
      });
      const [last] = (await ledgerOf(database.pool, 'broken_off')).slice(-1);
      expectSame(
        await storedChanges(database.pool, 'broken_off'),
        changesOf(devnet.chain, 0, last?.end ?? -1),
      );
    }
    await load(request);
    await expectChain(database.pool, 'broken_off', devnet.chain);
  });

  test('costs no identity: the number of its source stays', async () => {
    const { url, chain } = await serve({ blocks: 2 });
    const request = { pool: database.pool, url, stream: 'restarted', settings: TRANSFERS };
    await load(request);
    const sequence = async (): Promise<unknown> =>
      (await database.pool.query(`select last_value from strata.sources_source_id_seq`)).rows;
    const before = await sequence();
    for (let run = 0; run < 5; run += 1) {
      chain.advance(1);
      await load(request);
    }
    expect(await sequence()).toEqual(before);
  });
});

describe('spans of blocks', () => {
  test('are loaded one by one, then the rest; only what a span cut out of a microbatch is read again', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'spans', settings: TRANSFERS };
    expect(await load({ ...request, from: 10, to: 20 })).toMatchObject({ end: 'complete', blocks: 10 });
    expectSame(await storedChanges(database.pool, 'spans'), changesOf(chain, 10, 19));
    await expectLedger(database.pool, 'spans', chain, { from: 10, to: 19 });
    expect((await load({ ...request, from: 10, to: 20 })).end).toBe('nothing new');
    expect(await load({ ...request, to: 33 })).toMatchObject({ end: 'complete', blocks: 6 + 13, reorgs: 0 });
    expect(await load(request)).toMatchObject({ end: 'complete', blocks: 5 + 27, reorgs: 0 });
    await expectLedger(database.pool, 'spans', chain, { from: 10 });
    expectSame(await storedChanges(database.pool, 'spans'), changesOf(chain, 10));
    chain.advance(5);
    expect(await load(request)).toMatchObject({ end: 'complete', blocks: 5 });
    expectSame(await storedChanges(database.pool, 'spans'), changesOf(chain, 10));
  });

  test('may come in any order: holes are filled, and what is loaded stays', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'islands', settings: TRANSFERS };
    const reorgs = [];
    for (const [from, to] of [
      [40, 50],
      [20, 30],
      [0, 10],
      [5, 45],
      [0, 60],
    ] as const) {
      reorgs.push((await load({ ...request, from, to })).reorgs);
    }
    expect(reorgs).toEqual([0, 0, 0, 0, 0]);
    await expectChain(database.pool, 'islands', chain);
    expect((await load({ ...request, from: 0, to: 60 })).end).toBe('nothing new');
  });

  test('are taken back by a reorg although a span before them was loaded later', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'backwards', settings: TRANSFERS };
    await load({ ...request, from: 30 });
    await load({ ...request, from: 0, to: 30 });
    chain.reorg(10, 12);
    expect(await load(request)).toMatchObject({ end: 'complete', reorgs: 1 });
    await expectChain(database.pool, 'backwards', chain);
  });

  test('beyond the head are nothing new, not a wait', async () => {
    const { url } = await serve();
    const request = { pool: database.pool, url, stream: 'beyond', settings: TRANSFERS };
    expect((await load({ ...request, from: 100, to: 200 })).end).toBe('nothing new');
    expect(await ledgerOf(database.pool, 'beyond')).toEqual([]);
  });

  test.each([
    ['all of them', 45],
    ['some of them', 3],
  ])('cut out of a microbatch are right although a reorg took %s while nobody looked', async (_, past) => {
    const { url, chain } = await serve({}, { microbatchBlocks: 60 });
    const stream = `unseen_${past}`;
    const request = { pool: database.pool, url, stream, settings: TRANSFERS };
    await load({ ...request, to: 50 });
    chain.reorg(10 + past, 12 + past);
    expect(await load(request)).toMatchObject({ end: 'complete' });
    await expectChain(database.pool, stream, chain);
  });

  test('that end in the middle of a microbatch are right in every block', async () => {
    const { url, chain } = await serve({}, { microbatchBlocks: 60 });
    const request = { pool: database.pool, url, stream: 'cuts', settings: TRANSFERS };
    for (const to of [1, 2, 17, 60]) await load({ ...request, to });
    await expectChain(database.pool, 'cuts', chain);
  });
});

describe('a followed stream', () => {
  test('loads what comes and takes back what a reorg drops: its tables equal one clean pass', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'live', settings: TRANSFERS };
    const live = follow(request);
    await until('the first blocks', () => live.committed() === 59);
    chain.advance(3);
    await until('three more', () => live.committed() === 62);
    chain.reorg(5, 7);
    await until('the new branch', () => live.committed() === 64);
    await expectChain(database.pool, 'live', chain);
    chain.reorg(2, 2);
    await until(
      'another branch of the same length',
      () => live.events.filter(({ kind }) => kind === 'reorg').length === 2 && live.committed() === 64,
    );
    chain.advance(1);
    await until('a block on top', () => live.committed() === 65);
    expect(await live.stop()).toMatchObject({ end: 'stopped', reorgs: 2 });
    await expectChain(database.pool, 'live', chain);
    expect(await unbalancedAssets(database.pool)).toBe(0);
  });

  test('takes back what a reorg dropped while it was away', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'away', settings: TRANSFERS };
    await load(request);
    chain.reorg(20, 25);
    expect(await load(request)).toMatchObject({ end: 'complete', reorgs: 1 });
    await expectChain(database.pool, 'away', chain);
  });

  test.each([
    ['as long as what it replaces', true, 20, 20],
    ['of blocks the server has forgotten', false, 20, 25],
    ['of all blocks, which the server has forgotten', false, 60, 61],
  ])('takes back a fork that came while it was away: %s', async (name, remembersForks, depth, blocks) => {
    const { url, chain } = await serve({ remembersForks });
    const stream = `away_${name.length}`;
    const request = { pool: database.pool, url, stream, settings: TRANSFERS };
    await load(request);
    chain.reorg(depth, blocks);
    expect(await load(request)).toMatchObject({ end: 'complete', reorgs: 1 });
    await expectChain(database.pool, stream, chain);
  });

  test('steps back for a fork that the server forgot while it was followed', async () => {
    const { url, chain } = await serve({ remembersForks: false });
    const live = follow({ pool: database.pool, url, stream: 'forgotten', settings: TRANSFERS });
    await until('the first blocks', () => live.committed() === 59);
    chain.reorg(30, 32);
    await until('the new branch', () => live.committed() === 61);
    expect(await live.stop()).toMatchObject({ end: 'stopped', reorgs: 1 });
    await expectChain(database.pool, 'forgotten', chain);
  });

  test('with counted positions counts a replaced block anew', async () => {
    const { url, chain } = await serve({ blocks: 10 });
    const { ordinal: _ordinal, ...settings } = TRANSFERS as { ordinal: string };
    const live = follow({ pool: database.pool, url, stream: 'recounted', settings });
    await until('the first blocks', () => live.committed() === 9);
    chain.reorg(1, 1);
    await until(
      'the replaced block',
      () =>
        live.events.filter(({ kind }) => kind === 'committed').length > 2 ||
        live.events.some(({ kind }) => kind === 'reorg'),
    );
    chain.advance(1);
    await until('a block on top', () => live.committed() === 10);
    await live.stop();
    await expectChain(database.pool, 'recounted', chain);
  });

  test('stops at once while it waits for blocks, and before it has begun', async () => {
    const { url, chain } = await serve();
    const request = { pool: database.pool, url, stream: 'stopped', settings: TRANSFERS };
    expect(await load({ ...request, signal: AbortSignal.abort() })).toMatchObject({
      end: 'stopped',
      rows: 0,
    });
    const live = follow(request);
    await until('the first blocks', () => live.committed() === 59);
    expect((await live.stop()).end).toBe('stopped');
    await expectChain(database.pool, 'stopped', chain);
  });
});
