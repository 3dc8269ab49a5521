/** kill -9 at random moments: whatever dies where, the next run goes on, and in the end every row is there once. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { setTimeout as delay } from 'node:timers/promises';
import { createChain } from '../../src/devnet/chain.ts';
import type { ChainOptions, SimulatedChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { jsonOf, openFolder } from '../cli/command.ts';
import type { Finished, Folder } from '../cli/command.ts';
import { useDatabase } from '../database.ts';
import { randomRuns, seed } from '../seed.ts';
import { LOGS, TRANSFERS } from './loading.ts';
import { logsOf, storedLogs } from './log-rows.ts';
import {
  expectChain,
  expectLedger,
  expectSame,
  openTransactions,
  unbalancedAssets,
  wrongBalances,
} from './oracle.ts';

const database = useDatabase();

const KILLS = randomRuns(40);
/** Histories that run at once: one process each, two cores. */
const AT_ONCE = 2;
const KILLS_PER_HISTORY = 5;
/** A soak with hundreds of kills takes its time. */
const LIMIT_MS = 60_000 + KILLS * 5_000;

/** A repeatable source of integers: mulberry32. */
const randomFrom = (start: number): ((below: number) => number) => {
  let state = start | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
};

const folders: Folder[] = [];
beforeAll(() => {
  console.info(`kill test: ${KILLS} kills, PGSTRATA_SEED=${seed()}`);
});
afterEach(async () => {
  expect(await openTransactions(database.pool)).toEqual([]);
});
afterAll(async () => {
  for (const folder of folders) await folder.remove();
});

/** One history: its streams, its chain, its dice. */
interface History {
  readonly folder: Folder;
  readonly streams: { readonly transfers: string; readonly rows: string };
  readonly chain: SimulatedChain;
  readonly random: (below: number) => number;
}

const CHAIN: ChainOptions = {
  accounts: 25,
  tokens: 4,
  transfersPerBlock: 12,
  logsPerBlock: 3,
  blocks: 480,
  blockSeconds: 3_600,
};

const openHistory = async (number: number, url: string, chain: SimulatedChain): Promise<History> => {
  const random = randomFrom(seed() + number * 7919);
  const folder = await openFolder();
  folders.push(folder);
  const streams = { transfers: `changes_${number}`, rows: `logs_${number}` };
  const partition = number % 2 === 0 ? {} : { partition: { time: 'timestamp', hash: 'address', modulus: 2 } };
  const commit_rows = [1, 60, 250, 1000][random(4)];
  await folder.writePolicy({
    servers: { devnet: { url } },
    streams: {
      [streams.transfers]: { ...TRANSFERS, server: 'devnet', commit_rows },
      [streams.rows]: { ...LOGS, server: 'devnet', commit_rows, table: streams.rows, ...partition },
    },
  });
  return { folder, streams, chain, random };
};

/**
 * Starts an ingest and kills it: when a drawn number of commits has been seen and a drawn moment has passed, so that the blow
 * falls before, in and between commits, and now and then while it starts.
 *
 * @returns how it ended: by our signal, or complete before it came
 */
const runAndKill = async ({ folder, random }: History, args: readonly string[]): Promise<Finished> => {
  const commits = random(8) === 0 ? 0 : 1 + random(6);
  const after_ms = commits === 0 ? random(600) : random(16);
  let seen = 0;
  const reached = Promise.withResolvers<void>();
  const running = folder.start(
    ['ingest', '--json', ...args],
    { DATABASE_URL: database.url, PGSTRATA_LOG: 'info' },
    (line) => {
      if (line.includes('"committed"')) seen += 1;
      if (seen >= commits) reached.resolve();
    },
  );
  if (commits === 0) reached.resolve();
  await Promise.race([reached.promise, running.finished]);
  await delay(after_ms); // not a wait: the moment of the blow
  running.child.kill('SIGKILL');
  return running.finished;
};

const runToTheEnd = async ({ folder }: History): Promise<Finished> =>
  folder.run(['ingest', '--json'], { DATABASE_URL: database.url });

const expectExactlyOnce = async ({ streams, chain }: History): Promise<void> => {
  await expectChain(database.pool, streams.transfers, chain);
  const logs = logsOf(chain);
  expectSame(await storedLogs(database.pool, `public.${streams.rows}`), logs);
  await expectLedger(database.pool, streams.rows, chain, { rows: logs.length });
};

/** Plays histories, some at once, until the kills are used up; says how many blows fell on a living process. */
const playAll = async (
  kills: number,
  play: (number: number, kills: number) => Promise<number>,
): Promise<number> => {
  const shares = Array.from({ length: Math.ceil(kills / KILLS_PER_HISTORY) }, (_, index) =>
    Math.min(KILLS_PER_HISTORY, kills - index * KILLS_PER_HISTORY),
  );
  const waiting = shares.entries();
  let hits = 0;
  const lane = async (): Promise<void> => {
    for (const [number, share] of waiting) {
      const fallen = await play(number, share);
      hits += fallen; // not in one expression: the other lane counts meanwhile
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return hits;
};

const IN_PROCESS_SHARE = 3;

describe('killed at random moments', () => {
  const following = Math.max(1, Math.floor(KILLS / IN_PROCESS_SHARE));

  test(
    'a load of what is there ends with every row once',
    async () => {
      const hits = await playAll(KILLS - following, async (number, kills) => {
        const options = { ...CHAIN, seed: seed() + number };
        const random = randomFrom(seed() ^ number);
        const chain = createChain(options);
        const devnet = await startDevnet({
          chain,
          microbatchBlocks: 1 + random(6),
          rowsPerMessage: 8 + random(60),
          keepAliveRate: 0.1,
        });
        try {
          const history = await openHistory(number, devnet.url, chain);
          let hit = 0;
          for (let kill = 0; kill < kills; kill += 1)
            hit += (await runAndKill(history, [])).signal === 'SIGKILL' ? 1 : 0;
          const last = await runToTheEnd(history);
          expect(last, last.stderr).toMatchObject({ code: 0 });
          expect(jsonOf(last)).toMatchObject({
            streams: [
              { reorgs: 0, quarantined: 0 },
              { reorgs: 0, quarantined: 0 },
            ],
          });
          await expectExactlyOnce(history);
          return hit;
        } finally {
          await devnet.stop();
        }
      });
      // A blow that finds nobody proves nothing; most must fall on a process at work.
      expect(hits).toBeGreaterThan((KILLS - following) / 2);
    },
    LIMIT_MS,
  );

  test(
    'a followed stream that forks meanwhile ends as one clean pass of the last chain would',
    async () => {
      const hits = await playAll(following, async (share, kills) => {
        const number = 10_000 + share;
        const chain = createChain({ ...CHAIN, blocks: 40, seed: seed() + number });
        const devnet = await startDevnet({ chain, microbatchBlocks: 4 });
        try {
          const history = await openHistory(number, devnet.url, chain);
          let hit = 0;
          for (let kill = 0; kill < kills; kill += 1) {
            const { random } = history;
            const moves = setInterval(() => {
              if (random(4) === 0) chain.reorg(1 + random(Math.min(12, chain.view().head ?? 1)), random(14));
              else chain.advance(1 + random(3));
            }, 10);
            const end = await runAndKill(history, ['--follow']);
            clearInterval(moves);
            // A followed stream never ends by itself: whoever was not killed has failed.
            expect(end, end.stderr).toMatchObject({ signal: 'SIGKILL' });
            hit += 1;
          }
          // The chain may have become shorter than what is loaded; a longer one says what became of it.
          chain.advance(20);
          const last = await runToTheEnd(history);
          expect(last, last.stderr).toMatchObject({ code: 0 });
          await expectExactlyOnce(history);
          return hit;
        } finally {
          await devnet.stop();
        }
      });
      expect(hits).toBe(following);
    },
    LIMIT_MS,
  );

  test('no asset has gained or lost, and every balance is the sum of its changes', async () => {
    expect(await unbalancedAssets(database.pool)).toBe(0);
    expect(await wrongBalances(database.pool)).toEqual([]);
  });
});
