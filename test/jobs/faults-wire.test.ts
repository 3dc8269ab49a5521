/** Bad networks between a stream and its server, and between a stream and PostgreSQL: the tables come out as from a clean pass. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import type { SimulatedChain } from '../../src/devnet/chain.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { startProxy, through } from '../proxy.ts';
import type { Proxy, Spoil } from '../proxy.ts';
import { limitFor, randomRuns, seed } from '../seed.ts';
import { TRANSFERS } from './loading.ts';
import { expectChain, ledgerOf, openTransactions } from './oracle.ts';
import { supervise } from './supervised.ts';
import type { Supervised } from './supervised.ts';
import { badWire, chainOf, IMPATIENT, play, randomFrom } from './wire-faults.ts';
import type { Random } from './wire-faults.ts';

const database = useDatabase();
const RUNS = randomRuns(10);
const LIMIT_MS = limitFor(RUNS, 6_000);

beforeAll(() => {
  console.info(`faults on the wire: ${RUNS} runs each, PGSTRATA_SEED=${seed()}`);
});
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  expect(await openTransactions(database.pool)).toEqual([]);
});
afterAll(async () => {
  expect(await verifyBalances(database.pool, { oneIn: 1 })).toMatchObject({ differences: 0 });
});

interface Run {
  readonly random: Random;
  readonly stream: string;
  readonly chain: SimulatedChain;
  readonly devnet: Devnet<SimulatedChain>;
}

const open = async (name: string, number: number): Promise<Run> => {
  const random = randomFrom(seed() + number * 7919);
  const chain = chainOf(seed() + number);
  const devnet = await startDevnet({
    chain,
    microbatchBlocks: 1 + random(5),
    rowsPerMessage: 10 + random(40),
    keepAliveRate: 0.2,
  });
  cleanups.push(devnet.stop);
  return { random, stream: `${name}_${number}`, chain, devnet };
};

const before = async (url: string, spoilOf: (connection: number) => Spoil): Promise<Proxy> => {
  const { hostname, port } = new URL(url.replace('grpc:', 'http:'));
  const proxy = await startProxy({ host: hostname, port: () => Number(port) }, spoilOf);
  cleanups.push(proxy.stop);
  return proxy;
};

const settingsOf = (random: Random) => ({
  ...TRANSFERS,
  ...IMPATIENT,
  commit_rows: [1, 60, 500][random(3)]!,
});

/** Follows the chain while it moves, to its last block, and ends. */
const followToTheEnd = async ({ random, chain, stream }: Run, live: Supervised): Promise<void> => {
  cleanups.push(live.end);
  // The ledger knows more than the stream, which hears nothing of a commit whose answer was lost.
  const position = async (): Promise<number> => (await ledgerOf(database.pool, stream)).at(-1)?.end ?? -1;
  const first = random(20);
  await until('the first blocks', async () => (await position()) >= first);
  chain.advance(1 + random(3));
  chain.reorg(1 + random(6), 1 + random(4));
  // Longer than any fork before it: what is loaded to this head is of the last fork.
  chain.advance(10);
  await until('the last block', async () => (await position()) === chain.view().head);
  expect(await live.stop()).toMatchObject({ end: 'stopped' });
};

describe('a bad wire', () => {
  test(
    'to the Flight server repeats nothing and loses nothing',
    async () => {
      await play(RUNS, async (number) => {
        const run = await open('flight', number);
        const { random, devnet, stream, chain } = run;
        const proxy = await before(devnet.url, badWire(random, 4, 12_000));
        const server = through(proxy, devnet.url);
        await followToTheEnd(
          run,
          supervise({ url: database.url, server, stream, settings: settingsOf(random) }),
        );
        await expectChain(database.pool, stream, chain);
      });
    },
    LIMIT_MS,
  );

  test(
    'to PostgreSQL repeats nothing and loses nothing',
    async () => {
      await play(RUNS, async (number) => {
        const run = await open('postgres', number);
        const { random, devnet, stream, chain } = run;
        const proxy = await before(database.url, badWire(random, 8, 40_000));
        const url = through(proxy, database.url);
        await followToTheEnd(
          run,
          supervise({ url, server: devnet.url, stream, settings: settingsOf(random) }),
        );
        await expectChain(database.pool, stream, chain);
      });
    },
    LIMIT_MS,
  );

  test(
    'to both at once',
    async () => {
      await play(Math.ceil(RUNS / 2), async (number) => {
        const run = await open('both', number);
        const { random, devnet, stream, chain } = run;
        const wires = {
          flight: await before(devnet.url, badWire(random, 3, 12_000)),
          postgres: await before(database.url, badWire(random, 5, 40_000)),
        };
        const url = through(wires.postgres, database.url);
        const server = through(wires.flight, devnet.url);
        await followToTheEnd(run, supervise({ url, server, stream, settings: settingsOf(random) }));
        await expectChain(database.pool, stream, chain);
      });
    },
    LIMIT_MS,
  );
});

describe('a COMMIT', () => {
  test(
    'whose answer is lost, or which is lost itself, is known by the ledger',
    async () => {
      await play(RUNS, async (number) => {
        const run = await open('commit', number);
        const { random, devnet, stream, chain } = run;
        let commits = 0;
        const fates = new Map(
          Array.from(
            { length: 3 },
            // However few commits a run takes, the first one meets its fate.
            (_unused, index) =>
              [index === 0 ? 1 : 1 + random(12), random(2) === 0 ? 'lose answer' : 'lose request'] as const,
          ),
        );
        const judge = (sent: Buffer) =>
          sent.includes('commit\0') ? (fates.get((commits += 1)) ?? null) : null;
        const proxy = await before(database.url, () => ({ judge }));
        const url = through(proxy, database.url);
        const live = supervise({
          url,
          server: devnet.url,
          stream,
          settings: { ...TRANSFERS, ...IMPATIENT, commit_rows: 1 },
        });
        await followToTheEnd(run, live);
        expect(live.retries()).toBeGreaterThan(0);
        await expectChain(database.pool, stream, chain);
      });
    },
    LIMIT_MS,
  );
});
