/** Several loaders and folders at once: the same keys from many streams, live or deferred, in any order, with crashes and forks. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { foldStream } from '../../src/jobs/fold.ts';
import { propertyOptions, randomRuns } from '../seed.ts';
import { foldDeferred } from '../../src/warehouse/balances.ts';
import { until } from '../db/until.ts';
import { useBalances } from './database.ts';
import { blocksOf, DAY, HOUR, move, openStream, valueOf, verified } from './harness.ts';
import { histories, type History } from './histories.ts';
import { foldAll } from './oracle.ts';
import { createPlayer, type Player } from './play.ts';
import { expectExact, expectFolded, storedTables } from './tables.ts';

const database = useBalances();

/** A loader needs a second connection for new weeks while it holds one: eight of them, four folders and a watcher at once. */
let pool: Pool;
beforeAll(() => {
  pool = createPool(database.url, { max: 30 });
});
afterAll(() => pool.end());
const unchecked = { check: () => Promise.resolve() };

/** A failure is not shrunk: another order of events would only hide it. */
const ROUNDS = 6;
const LIMIT_MS = 60_000 + randomRuns(ROUNDS) * 4_000;

/** One to eight streams that share accounts and assets; a state is lost in single histories only. */
const together = fc
  .tuple(
    fc.array(histories, { minLength: 1, maxLength: 8 }),
    fc.constantFrom('hour', 'day'),
    fc.constantFrom(0, 18),
  )
  .map(([all, grain, scale]) =>
    all.map((history): History => ({
      ...history,
      grain,
      scale,
      // Several writes a transaction, each with new assets: two loaders that wrote them part by part would deadlock.
      commitRows: 3,
      steps: history.steps.slice(0, 3).map((step) => ({ ...step, loss: null })),
    })),
  );

const playAll = async (history: History, player: Player): Promise<void> => {
  for (const [index, step] of history.steps.entries()) await player.play(step, index);
};

const fold = (stream: string, acrossGaps = false): Promise<unknown> =>
  foldStream({ pool: pool, stream, signal: new AbortController().signal, rowsMax: 5, acrossGaps });

let rounds = 0;

describe('workers that commit at once', () => {
  test(
    'into the same keys leave them exact, at every moment and in the end',
    async () => {
      const property = fc.asyncProperty(together, async (all) => {
        const round = (rounds += 1);
        const tokens = [`together_${round}_a`, `together_${round}_b`];
        const [{ grain, scale }] = all as [History];
        const players = all.map((history, number) =>
          createPlayer(pool, history, {
            stream: `together_${round}_${number}`,
            tokens,
            ...unchecked,
          }),
        );
        const { assets } = players[0]!;
        let working = true;
        const works = Promise.all(all.map((history, number) => playAll(history, players[number]!))).finally(
          () => {
            working = false;
          },
        );
        works.catch(() => undefined); // told below; meanwhile the watcher looks on
        while (working) await expectExact(pool, grain, assets, scale);
        await works;
        const changes = players.flatMap((player) => player.changes());
        expectFolded(await storedTables(pool, assets), foldAll(changes, grain, scale));
      });
      await fc.assert(property, { ...propertyOptions(ROUNDS), endOnFailure: true });
    },
    LIMIT_MS,
  );

  test(
    'while the fold follows stream by stream, four workers each',
    async () => {
      const property = fc.asyncProperty(together, fc.boolean(), async (all, acrossGaps) => {
        const round = (rounds += 1);
        const tokens = [`behind_${round}_a`, `behind_${round}_b`];
        const [{ grain, scale }] = all as [History];
        const players = all.slice(0, 4).map((history, number) =>
          createPlayer(pool, history, {
            stream: `behind_${round}_${number}`,
            tokens,
            fold: number === 0 ? 'live' : 'deferred',
            ...unchecked,
          }),
        );
        let working = true;
        const works = Promise.all(players.map((player, number) => playAll(all[number]!, player))).finally(
          () => {
            working = false;
          },
        );
        works.catch(() => undefined);
        while (working) {
          for (const { stream } of players) await fold(stream, acrossGaps);
          expect((await verified(pool)).first).toEqual([]);
        }
        await works;
        for (const { stream } of players) await fold(stream);
        const changes = players.flatMap((player) => player.changes());
        expectFolded(await storedTables(pool, players[0]!.assets), foldAll(changes, grain, scale));
      });
      await fc.assert(property, { ...propertyOptions(ROUNDS), endOnFailure: true });
    },
    LIMIT_MS,
  );
});

describe('two sources', () => {
  test('that fold the same keys in opposite order wait for each other and never deadlock', async () => {
    const tokens = ['opposite_a', 'opposite_b'];
    const forth = openStream(pool, 'forth', { tokens, ...unchecked });
    const back = openStream(pool, 'back', { tokens, ...unchecked });
    const deadlocks = 'select deadlocks::int from pg_stat_database where datname = current_database()';
    const before = await valueOf<number>(pool, deadlocks);
    await Promise.all(
      [forth, back].map(async (stream, number) => {
        for (let step = 0; step < 15; step++) {
          const moves = [1, 2, 3, 4].flatMap((to) => [
            move(0, to, 1, BigInt(step) * HOUR),
            move(to, 0, 2, -DAY, 1),
          ]);
          await stream.play(blocksOf(number === 0 ? moves : moves.toReversed()), step);
        }
      }),
    );
    await expectExact(pool, 'hour', forth.assets);
    await pool.query('select pg_stat_force_next_flush()');
    expect(await valueOf<number>(pool, deadlocks)).toBe(before);
  });
});

describe('a deferred load', () => {
  test('whose range lies before what is folded is folded with its commit, even while the folder passes it', async () => {
    const stream = openStream(pool, 'passed', { fold: 'deferred', ...unchecked });
    await stream.play(blocksOf([move(0, 1, 1, 0n)], [move(0, 2, 2, HOUR)]), 0);
    const loader = await pool.connect();
    try {
      const source = await valueOf<number>(
        pool,
        `select source_id from strata.sources where stream = 'passed'`,
      );
      await pool.query(
        'update strata.stream_batches set start_block = start_block + 10, end_block = end_block + 10 where source_id = $1',
        [source],
      );
      await pool.query('update strata.balance_changes set block_num = block_num + 10 where source_id = $1', [
        source,
      ]);
      // A loader has written blocks 5 to 6 and settled, and has not committed yet.
      await loader.query('begin');
      await loader.query(
        `insert into strata.balance_changes select account_address, asset_id, block_time, 5, ordinal + 100, source_id, delta from strata.balance_changes where source_id = $1 and block_num = 10`,
        [source],
      );
      await loader.query(
        `insert into strata.stream_batches (source_id, start_block, end_block, batch_id, row_count, min_time, max_time)
         select source_id, 5, 6, 1, row_count, min_time, max_time from strata.stream_batches where source_id = $1 and start_block = 10`,
        [source],
      );
      const range = { network: 'tests', start: 5, end: 6, hash: '', prevHash: null, timestamp: null };
      await foldDeferred(loader, [{ sourceId: source, range }]);
      const passing = fold('passed', true);
      // It must wait for the loader: were it past these blocks already, nobody would fold them.
      await until('the folder to wait or to pass', () =>
        valueOf<boolean>(
          pool,
          `select exists (select from pg_locks where not granted and locktype = 'advisory')
          or exists (select from strata.fold_progress where source_id = $1)`,
          [source],
        ),
      );
      await loader.query('commit');
      await passing;
      await expectExact(pool, 'hour', stream.assets);
    } finally {
      loader.release();
    }
  });
});
