/** Forks deeper than `reorg_buffer`, during a catch-up and behind one: taken back where the server knows them, else noticed and refused. */
import { afterEach, expect, test } from 'vitest';
import { createChain, type SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet, type Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { follow, load, TRANSFERS } from './loading.ts';
import { changesOf, expectChain, expectSame, ledgerOf, openTransactions, storedChanges } from './oracle.ts';

const database = useDatabase();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

const BUFFER = 30;
/** So long that it is not simply read again from its beginning. */
const HEAD = 449;
const PARALLEL = {
  ...TRANSFERS,
  parallel: { workers: 2, partition_blocks: 60, reorg_buffer: BUFFER },
};

let seeds = 0;

const serve = async (remembersForks: boolean): Promise<Devnet<SimulatedChain>> => {
  const seed = (seeds += 1);
  const chain = createChain({ seed, blocks: HEAD + 1, transfersPerBlock: 2, accounts: 9, remembersForks });
  const devnet = await startDevnet({ chain });
  cleanups.push(devnet.stop);
  return devnet;
};

test('the block before the buffer is known by its hash, so that a fork of all of the buffer is placed', async () => {
  const { url, chain } = await serve(false);
  await load({ pool: database.pool, url, stream: 'placed', settings: PARALLEL });
  const edge = chain.view().hashOf(HEAD - BUFFER);
  const ledger = await ledgerOf(database.pool, 'placed');
  expect(ledger.find(({ end }) => end === HEAD - BUFFER)).toMatchObject({ hash: edge });
  expect(ledger.at(-1)).toMatchObject({ start: HEAD - BUFFER + 1, prev: edge });
  chain.reorg(BUFFER, BUFFER + 2);
  // Nothing in front of it is read again.
  expect(await load({ pool: database.pool, url, stream: 'placed', settings: PARALLEL })).toMatchObject({
    reorgs: 1,
    blocks: BUFFER + 2,
  });
  await expectChain(database.pool, 'placed', chain);
});

test.each([1, 40])('%i blocks deeper, on a server that forgets: refused, nothing is erased', async (more) => {
  const { url, chain } = await serve(false);
  const stream = `refused_${more}`;
  const following = follow({ pool: database.pool, url, stream, settings: PARALLEL });
  await until('the head', () => following.committed() === HEAD);
  const before = changesOf(chain);
  chain.reorg(BUFFER + more, BUFFER + more + 2);
  const error = await failureOf(following.result);
  expect(error).toMatchObject({ kind: 'protocol', message: expect.stringMatching(/further back/) as string });
  expect(error.detail.remedy).toMatch(/reorg_buffer/);
  expectSame(await storedChanges(database.pool, stream), before);
  // The next run, at work without workers or with them, finds it too.
  for (const settings of [PARALLEL, { ...TRANSFERS, parallel: { ...PARALLEL.parallel, workers: 1 } }])
    expect(await failureOf(load({ pool: database.pool, url, stream, settings }))).toMatchObject({
      kind: 'protocol',
    });
  expectSame(await storedChanges(database.pool, stream), before);
});

test('on a server that remembers it is taken back as any other', async () => {
  const { url, chain } = await serve(true);
  await load({ pool: database.pool, url, stream: 'remembered', settings: PARALLEL });
  chain.reorg(BUFFER + 40, BUFFER + 42);
  expect(await load({ pool: database.pool, url, stream: 'remembered', settings: PARALLEL })).toMatchObject({
    reorgs: 1,
  });
  await expectChain(database.pool, 'remembered', chain);
});

test.each([true, false])(
  'while history is loaded (a server that remembers: %s): refused',
  async (remembers) => {
    const { url, chain } = await serve(remembers);
    const stream = `meanwhile_${remembers}`;
    let done = 0;
    const request = {
      pool: database.pool,
      url,
      stream,
      settings: PARALLEL,
      onEvent: (event: { readonly kind: string; readonly state?: string }): void => {
        if (event.kind === 'partition' && event.state === 'loaded' && ++done === 3)
          chain.reorg(BUFFER + 60, BUFFER + 62);
      },
    };
    const error = await failureOf(load(request));
    expect(error).toMatchObject({
      kind: 'protocol',
      message: expect.stringMatching(/do not join/) as string,
    });
    expect(error.detail.remedy).toMatch(/reorg_buffer/);
  },
);
