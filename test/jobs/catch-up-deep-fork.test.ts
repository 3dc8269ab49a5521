/** Forks deeper than `reorg_buffer`, during a catch-up and behind one: taken back where the server knows them, else noticed and refused. */
import { afterEach, expect, test } from 'vitest';
import { createChain, type SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet, type Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import {
  hashOf,
  microbatch,
  rangeOf,
  SCRIPTED_TRANSFERS,
  serveScript,
  transfersBatch,
  type Step,
} from './scripted-server.ts';
import { follow, load, TRANSFERS } from './loading.ts';
import { expectChain, expectSame, ledgerOf, openTransactions, storedChanges } from './oracle.ts';

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

test.each([
  [1, 'live'],
  [90, 'live'],
  [1, 'by the next run'],
  [90, 'by the next run'],
])(
  '%i blocks deeper, on a server that forgets: found by the hashes of partitions, %s',
  async (more, when) => {
    const { url, chain } = await serve(false);
    const stream = `deeper_${more}_${when.replaceAll(' ', '_')}`;
    const following = follow({ pool: database.pool, url, stream, settings: PARALLEL });
    await until('the head', () => following.committed() === HEAD);
    if (when !== 'live') await following.stop();
    // So far ahead that nobody would look for forks there.
    chain.reorg(BUFFER + more, BUFFER + more + (when === 'live' ? 2 : 1500));
    if (when === 'live') await until('the other fork', () => following.committed() === HEAD + 2);
    if (when === 'live') expect(await following.stop()).toMatchObject({ reorgs: 1 });
    else
      expect(await load({ pool: database.pool, url, stream, settings: PARALLEL })).toMatchObject({
        reorgs: 1,
      });
    await expectChain(database.pool, stream, chain);
  },
);

test('another chain is refused, and nothing is erased', async () => {
  const { url, chain } = await serveForks();
  const stream = 'another_chain';
  const parallel = { workers: 2, partition_blocks: 3000, reorg_buffer: 10 };
  const request = { pool: database.pool, url, stream, settings: { ...SCRIPTED_TRANSFERS, parallel } };
  chain.head = 5000;
  await load(request);
  await database.pool.query(
    `update strata.stream_batches set hash = '0x' || start_block
      where source_id = (select source_id from strata.sources where stream = $1)`,
    [stream],
  );
  chain.head = 7000;
  const before = await storedChanges(database.pool, stream);
  const error = await failureOf(load(request));
  expect(error).toMatchObject({ kind: 'protocol', message: expect.stringMatching(/0–5000/) as string });
  expect(error.detail.remedy).toMatch(/Nothing was erased/);
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
  'while history is loaded (a server that remembers: %s): what has left the chain is taken back at once',
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
        if (event.kind === 'partition' && event.state === 'loaded' && ++done % 4 === 0)
          chain.reorg(BUFFER + 200, BUFFER + 202);
      },
    };
    expect((await load(request)).reorgs).toBeGreaterThan(0);
    await expectChain(database.pool, stream, chain);
  },
);

/** The end of a query that has none. */
const OPEN = 100_000;

/** Blocks of two forks: `b` leaves `a` behind block 9. */
const serveForks = async () => {
  const chain = {
    head: 29,
    forked: false,
    /** Answers to these fail, are of the other fork, or say nothing of hashes inside and are of the other fork only now. */
    fails: null as RegExp | null,
    forksAt: null as RegExp | null,
    flickersAt: null as RegExp | null,
  };
  const fork = (block: number): string => (chain.forked && block >= 10 ? 'b' : 'a');
  const blocks = (start: number, sql: string, isAnswer = false): Step[] => {
    const bound = (pattern: RegExp): number | undefined => {
      const found = pattern.exec(sql)?.[1];
      return found === undefined ? undefined : Number(found);
    };
    const [lower, upper] = [bound(/ >= (\d+)/) ?? 0, bound(/ < (\d+)/) ?? OPEN];
    const end = Math.min(chain.head, upper - 1);
    const first = Math.max(start, lower > end ? 0 : lower);
    const numbers = Array.from({ length: end - first + 1 }, (_unused, index) => first + index);
    const rows = numbers
      .filter((block) => block >= lower)
      .map((block) => ({ block, to: fork(block) === 'a' ? 2 : 3 }));
    // An answer that has an end says exactly what it covers, so that what does not join is refused; a stream ends at the head.
    const said = isAnswer && (upper === OPEN || chain.flickersAt !== null) ? 0 : first;
    const last = isAnswer && chain.flickersAt === null ? end : chain.head;
    return microbatch([rangeOf(said, last, fork(last), fork(said - 1))], transfersBatch(rows));
  };
  const server = await serveScript(
    [],
    ({ resume, sql }) => {
      const { number, hash } = resume?.['scripted'] ?? { number: -1, hash: hashOf(-1, 'a') };
      if (![hashOf(number, 'a'), hashOf(number, 'b')].includes(hash))
        return microbatch([rangeOf(number, chain.head, fork(chain.head), fork(number - 1))]);
      const from = hash === hashOf(number, fork(number)) ? number + 1 : 10;
      return [...(from > chain.head ? [] : blocks(from, sql)), { wait: 'for ever' }];
    },
    {
      answer: ({ sql }) => {
        if (chain.forksAt?.test(sql)) chain.forked = true;
        if (chain.fails?.test(sql)) return [{ fail: 'UNAVAILABLE' }];
        if (chain.flickersAt === null) return blocks(0, sql, true);
        chain.forked = chain.flickersAt.test(sql);
        const answer = blocks(0, sql, true);
        chain.forked = false;
        return answer;
      },
    },
  );
  cleanups.push(() => Promise.resolve(server.stop()));
  const expectOneFork = async (stream: string): Promise<void> => {
    const ledger = await ledgerOf(database.pool, stream, 'scripted');
    expect(ledger.reduce((next, { start, end }) => (start === next ? end + 1 : Number.NaN), 0)).toBe(
      chain.head + 1,
    );
    for (const { start, end, hash, prev } of ledger) {
      expect([null, hashOf(end, fork(end))]).toContain(hash);
      expect([null, hashOf(start - 1, fork(start - 1))]).toContain(prev);
    }
  };
  return { url: server.url, chain, expectOneFork };
};

/** A buffer that reaches back to block 5, or 36. */
const NEAR_HEAD = { ...SCRIPTED_TRANSFERS, parallel: { workers: 2, partition_blocks: 5, reorg_buffer: 25 } };

test('a fork of all that was loaded behind a hole is taken back before the hole is filled', async () => {
  const { url, chain, expectOneFork } = await serveForks();
  const request = { pool: database.pool, url, stream: 'in_front' };
  await load({ ...request, settings: SCRIPTED_TRANSFERS, from: 20 });
  Object.assign(chain, { head: 60, forked: true });
  expect(await load({ ...request, settings: NEAR_HEAD, from: 0 })).toMatchObject({
    end: 'complete',
    reorgs: 1,
  });
  await expectOneFork('in_front');
});

test('a fork within the buffer, while a run begins inside it, leaves nothing that the blocks before it do not join', async () => {
  const { url, chain, expectOneFork } = await serveForks();
  const request = { pool: database.pool, url, stream: 'began_inside', settings: NEAR_HEAD };
  chain.forksAt = />= 20/;
  await load({ ...request, from: 20 });
  expect(chain.forked).toBe(true);
  chain.head = 30;
  expect(await load({ ...request, from: 0 })).toMatchObject({ end: 'complete' });
  await expectOneFork('began_inside');
});

test('what took the place of a fork is taken back in its turn, although the run that loaded it was broken off', async () => {
  const { url, chain, expectOneFork } = await serveForks();
  const request = { pool: database.pool, url, stream: 'in_its_turn' };
  await load({ ...request, settings: SCRIPTED_TRANSFERS, from: 20 });
  // All but the block that takes the place of the fork.
  Object.assign(chain, { head: 32, forked: true, fails: /< (?!21\b)/ });
  await failureOf(load({ ...request, settings: NEAR_HEAD, from: 0 }));
  // Back on the first fork, and so far ahead that nobody would look for forks there.
  Object.assign(chain, { head: 100, forked: false, fails: null });
  expect(await load({ ...request, settings: NEAR_HEAD, from: 0 })).toMatchObject({
    end: 'complete',
    reorgs: 1,
  });
  await expectOneFork('in_its_turn');
  const changes = await storedChanges(database.pool, 'in_its_turn');
  expect(changes.filter((line) => line.startsWith(`${'aa'.repeat(19)}03`))).toEqual([]);
  expect(changes).toHaveLength(202);
});

test('a fork that comes and goes while holes in the buffer are filled leaves none of its blocks', async () => {
  const { url, chain, expectOneFork } = await serveForks();
  const request = { pool: database.pool, url, stream: 'came_and_went', settings: NEAR_HEAD };
  await load({ ...request, settings: SCRIPTED_TRANSFERS, from: 20 });
  // Answers say neither their first parent nor their last hash, and those of the hole in the buffer are of a fork that is gone again
  // by the time the stream goes on.
  Object.assign(chain, { head: 30, flickersAt: /< (15|20)/ });
  await load({ ...request, from: 0 });
  await expectOneFork('came_and_went');
  const changes = await storedChanges(database.pool, 'came_and_went');
  expect(changes.filter((line) => line.startsWith(`${'aa'.repeat(19)}03`))).toEqual([]);
  expect(changes).toHaveLength(62);
});

test('what a catch-up that was broken off has loaded is proved before the next one goes on', async () => {
  const { url, chain, expectOneFork } = await serveForks();
  const parallel = { workers: 1, partition_blocks: 5, reorg_buffer: 5 };
  const request = {
    pool: database.pool,
    url,
    stream: 'broken_off',
    settings: { ...SCRIPTED_TRANSFERS, parallel },
  };
  Object.assign(chain, { head: 29, fails: />= 21/ });
  await failureOf(load(request));
  // Deeper than the buffer, and of blocks that were settled.
  Object.assign(chain, { head: 60, forked: true, fails: null });
  expect(await load(request)).toMatchObject({ end: 'complete', reorgs: 1 });
  await expectOneFork('broken_off');
});

test.each([
  ['fills a hole in the buffer, and leaves what is loaded behind its end', 35],
  ['proves what is behind a hole before it fills that', 12],
])('--to %s', async (_what, to) => {
  const { url, chain, expectOneFork } = await serveForks();
  const stream = `to_${to}`;
  const request = { pool: database.pool, url, stream, settings: NEAR_HEAD };
  chain.head = 40;
  await load({ ...request, settings: SCRIPTED_TRANSFERS, to: 8 });
  await load({ ...request, settings: SCRIPTED_TRANSFERS, from: 20, to: 39 });
  chain.forked = true;
  await load({ ...request, from: 0, to });
  const ledger = await ledgerOf(database.pool, stream, 'scripted');
  expect(ledger.some(({ start, end }) => start <= to - 1 && end >= to - 1)).toBe(true);
  if (to === 35) expect(ledger.at(-1)!.end).toBeGreaterThanOrEqual(38);
  await load({ ...request, from: 0 });
  await expectOneFork(stream);
});
