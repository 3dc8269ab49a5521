/** Weeks of balances and of changes are dropped, apart and together: what is retained stays exact, and so does what is folded later. */
import { describe, expect, test } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { rebuildBalances } from '../../src/warehouse/rebuild.ts';
import type { TestDatabase } from '../database.ts';
import { useBalances } from './database.ts';
import { blocksOf, DAY, HOUR, instant, move, openStream, valueOf, WEEK } from './harness.ts';
import type { Step } from './histories.ts';
import type { Player } from './play.ts';
import { expectRetained, fiveWeeks } from './retained.ts';

const everything = { check: () => Promise.resolve() };

/** Detaches and drops every week of a set that ends at or before the cutoff. */
const dropWeeks = async (
  pool: Pool,
  set: 'account_balances' | 'balance_changes',
  cutoff: bigint,
): Promise<number> => {
  const { rows } = await pool.query<{ partition: string }>(
    'select partition::text from strata.set_partitions($1) where upper_bound <= $2',
    [set, instant(cutoff)],
  );
  for (const { partition } of rows) {
    await pool.query(`alter table strata.${set} detach partition ${partition}`);
    await pool.query(`drop table ${partition}`);
  }
  return rows.length;
};

const dropBalances = async (pool: Pool, cutoff: bigint): Promise<void> => {
  await pool.query('select strata.carry_forward_openings($1)', [instant(cutoff)]);
  expect(await dropWeeks(pool, 'account_balances', cutoff)).toBeGreaterThan(0);
};

const dropChanges = async (pool: Pool, cutoff: bigint): Promise<void> => {
  await pool.query('select strata.note_changes_dropped($1)', [instant(cutoff)]);
  expect(await dropWeeks(pool, 'balance_changes', cutoff)).toBeGreaterThan(0);
};

const appends = blocksOf([move(1, 3, 7, 35n * DAY), move(4, 1, 2, 35n * DAY, 1)], [move(0, 4, 9, 36n * DAY)]);
const late = blocksOf([move(2, 3, 11, 16n * DAY), move(4, 2, 3, 22n * DAY + HOUR, 1)]);
/** Before every cutoff: for keys with an opening balance, and for one without. */
const tooLate = blocksOf([move(1, 2, 13, 2n * DAY)], [move(1, 4, 5, 3n * DAY), move(0, 4, 1, 9n * DAY, 1)]);
const fork: Step = { ...blocksOf([move(1, 2, 1, 37n * DAY)]), back: 3 };

const goOn = async (pool: Pool, player: Player, cutoff: bigint, exactFrom = cutoff): Promise<void> => {
  for (const [index, step] of [appends, late, tooLate, fork].entries()) {
    player.restart(); // a run remembers the weeks it has seen
    await player.play(step, index + 1);
    await expectRetained(pool, player, cutoff, exactFrom);
  }
};

/** Each test drops weeks of the whole warehouse, so each has one of its own. */
const inItsOwn = (says: string, body: (database: TestDatabase) => Promise<void>): void => {
  describe('when weeks are dropped', () => {
    const database = useBalances();
    test(says, () => body(database));
  });
};

inItsOwn(
  'of balances, as-of reads, verify, rebuild, late rows, forks and further folds stay exact',
  async (database) => {
    const player = openStream(database.pool, 'balances_dropped', everything);
    await player.play(fiveWeeks(), 0);
    await dropBalances(database.pool, WEEK);
    await expectRetained(database.pool, player, WEEK);
    await goOn(database.pool, player, WEEK);
    await dropBalances(database.pool, 2n * WEEK); // what was late is in the openings by now
    await expectRetained(database.pool, player, 2n * WEEK);
    await rebuildBalances(database.pool, { account: null, assetId: null, from: null });
    await expectRetained(database.pool, player, 2n * WEEK);
    await database.pool.query('truncate strata.account_balances_current');
    await player.play(blocksOf([move(3, 2, 1, 37n * DAY)]), 9);
    await expectRetained(database.pool, player, 2n * WEEK);
  },
);

inItsOwn(
  'of balances, the openings may be written before the weeks go, with folds in between',
  async (database) => {
    const player = openStream(database.pool, 'in_between', everything);
    await player.play(fiveWeeks(), 0);
    await database.pool.query('select strata.carry_forward_openings($1)', [instant(3n * WEEK)]);
    await expectRetained(database.pool, player, 3n * WEEK);
    // The history of a key begins with its opening row, whether its old weeks are attached still or not.
    expect(
      await valueOf(
        database.pool,
        `select jsonb_build_array(count(*) filter (where opening and place = 1), count(*) filter (where opening and place > 1),
                                  count(*) filter (where not opening and "timestamp" < $1), bool_or(not opening and place = 2))
           from (select *, row_number() over (partition by account_address, asset_id order by "timestamp") as place from strata.balance_history) h`,
        [instant(3n * WEEK)],
      ),
    ).toEqual([
      await valueOf(database.pool, 'select count(*) from strata.account_balances_opening'),
      0,
      0,
      true,
    ]);
    await goOn(database.pool, player, 3n * WEEK);
    await dropWeeks(database.pool, 'account_balances', 3n * WEEK);
    await expectRetained(database.pool, player, 3n * WEEK);
  },
);

inItsOwn(
  'of changes, before those of balances: as-of reads fall back to the period, all else stays exact',
  async (database) => {
    const player = openStream(database.pool, 'changes_dropped', everything);
    await player.play(fiveWeeks(), 0);
    await dropChanges(database.pool, 4n * WEEK);
    await expectRetained(database.pool, player, 3n * WEEK, 4n * WEEK);
    await goOn(database.pool, player, 3n * WEEK, 4n * WEEK);
    await rebuildBalances(database.pool, { account: null, assetId: player.assets[0]!, from: null });
    await expectRetained(database.pool, player, 3n * WEEK, 4n * WEEK);
  },
);

inItsOwn('of balances for longer than of changes, all stays exact too', async (database) => {
  const player = openStream(database.pool, 'both_dropped', everything);
  await player.play(fiveWeeks(), 0);
  await dropBalances(database.pool, 4n * WEEK);
  await expectRetained(database.pool, player, 4n * WEEK);
  await goOn(database.pool, player, 4n * WEEK);
  await rebuildBalances(database.pool, {
    account: '0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01',
    assetId: null,
    from: null,
  });
  await expectRetained(database.pool, player, 4n * WEEK);
});
