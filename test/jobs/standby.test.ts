/** Two processes on one stream: one loads it, the other waits its turn or says why not. */
import { afterEach, describe, expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { failureOf } from '../flight/collect.ts';
import { randomRuns, seed } from '../seed.ts';
import { TRANSFERS } from './loading.ts';
import { expectChain, openTransactions, wrongBalances } from './oracle.ts';
import { supervise } from './supervised.ts';
import { IMPATIENT, randomFrom } from './wire-faults.ts';

const database = useDatabase();

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});

const serve = async (): Promise<Devnet<SimulatedChain>> => {
  const chain = createChain({
    accounts: 10,
    tokens: 2,
    transfersPerBlock: 4,
    blocks: 12,
    blockSeconds: 5_000,
  });
  const devnet = await startDevnet({ chain, microbatchBlocks: 3 });
  cleanups.push(devnet.stop);
  return devnet;
};

describe('two processes on one stream', () => {
  test.each(['follows and waits its turn', 'says so and gives up'])('the second one %s', async (manner) => {
    const follows = manner.startsWith('follows');
    const devnet = await serve();
    const stream = follows ? 'standby' : 'refused';
    const request = { url: database.url, server: devnet.url, stream, settings: TRANSFERS };
    const first = supervise(request);
    cleanups.push(first.end);
    await until('the first to load', () => first.committed() === 11);
    const second = supervise({ ...request, follow: follows });
    cleanups.push(second.end);
    if (follows) {
      await until('the second to wait', () => second.retries() > 1);
      devnet.chain.advance(1);
      await until('the first to go on', () => first.committed() === 12);
      expect(second.events.some(({ kind }) => kind === 'begun')).toBe(false);
      await first.stop();
      devnet.chain.advance(1);
      await until('the second to take over', () => second.committed() === 13);
      await second.stop();
    } else {
      expect(await failureOf(second.result)).toMatchObject({
        kind: 'conflict',
        message: 'another process is loading stream refused',
        detail: { remedy: expect.any(String) as string },
      });
      await first.stop();
    }
    await expectChain(database.pool, stream, devnet.chain);
  });

  test('a session that is lost gives the stream free, and its owner notices', async () => {
    const devnet = await serve();
    const live = supervise({ url: database.url, server: devnet.url, stream: 'holder', settings: TRANSFERS });
    cleanups.push(live.end);
    await until('the first blocks', () => live.committed() === 11);
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgstrata %holder'`,
    );
    await until('it to notice', () => live.retries() === 1);
    devnet.chain.advance(1);
    await until('it to go on', () => live.committed() === 12);
    await live.stop();
    await expectChain(database.pool, 'holder', devnet.chain);
  });

  test('races for it, again and again: whoever has it, every row is there once', async () => {
    const races = randomRuns(10);
    const random = randomFrom(seed());
    let before = -1;
    const devnet = await serve();
    const request = {
      url: database.url,
      server: devnet.url,
      stream: 'raced',
      settings: { ...TRANSFERS, ...IMPATIENT, commit_rows: 1 },
    };
    for (let race = 0; race < races; race += 1) {
      devnet.chain.advance(1 + random(3));
      const head = devnet.chain.view().head ?? -1;
      const runners = Array.from({ length: 3 }, () => supervise(request));
      cleanups.push(...runners.map(({ end }) => end));
      await until('one of them', () => runners.some((runner) => runner.committed() === head));
      const ends = await Promise.all(runners.map((runner) => runner.stop()));
      expect(ends.map(({ end }) => end)).toEqual(['stopped', 'stopped', 'stopped']);
      // One at a time: the blocks of all of them together are those of the race, each once.
      const blocks = ends.reduce((sum, end) => sum + end.blocks, 0);
      expect(blocks).toBe(head - before);
      before = head;
    }
    await expectChain(database.pool, 'raced', devnet.chain);
    expect(await wrongBalances(database.pool)).toEqual([]);
  });
});
