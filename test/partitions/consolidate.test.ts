/** Consolidation from plan to undo: what is merged, what is kept, what is shown before. */
import { expect, it } from 'vitest';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { applyDropHeld, planDropHeld } from '../../src/warehouse/partitions/consolidate/held.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { contents, expectNothingLeft, fillChanges, kinds } from './consolidate.ts';
import { NOW, QUICK, WEEK } from './settings.ts';

const database = useDatabase();
const SET = 'balance_changes';
const fresh = async (weeks: number, rows = 2000): Promise<void> => {
  await database.pool.query('truncate strata.balance_changes');
  await fillChanges(database.pool, weeks, rows);
};

it('merges weeks that are old enough, keeps every row, takes late ones, and undoes it with them', async () => {
  const { pool } = database;
  await fresh(3);
  const before = await contents(pool, 'strata.balance_changes');
  const plan = await planConsolidate(pool, SET, { now: NOW });
  expect(await contents(pool, 'strata.balance_changes')).toBe(before);
  const { weeks } = await applyConsolidate(pool, plan, { patience: QUICK });
  expect(weeks.map(({ outcome, error }) => [outcome, error])).toEqual(Array(3).fill(['consolidated', null]));
  expect(weeks.every(({ rows }) => rows === 2000)).toBe(true);
  expect(await kinds(pool)).toEqual(['consolidated', 'consolidated', 'consolidated']);
  expect(await contents(pool, 'strata.balance_changes')).toBe(before);
  await expectNothingLeft(pool);

  await pool.query(
    `insert into strata.balance_changes select account_address, asset_id, block_time, block_num + 100000, ordinal, source_id, 7 from strata.balance_changes where block_num <= 300`,
  );
  await pool.query('delete from strata.balance_changes where block_num between 500 and 600');
  await pool.query(
    'update strata.balance_changes set delta = delta + 1, block_num = block_num + 1000000 where block_num between 700 and 800',
  );
  const late = await contents(pool, 'strata.balance_changes');
  const undone = await applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), {
    patience: QUICK,
  });
  expect(undone.weeks.map(({ outcome, error }) => [outcome, error])).toEqual(Array(3).fill(['undone', null]));
  expect(await kinds(pool)).toEqual(['hash', 'hash', 'hash']);
  expect(await contents(pool, 'strata.balance_changes')).toBe(late);
  await expectNothingLeft(pool);
});

it('drops what was held when it is due, and not before', async () => {
  const { pool } = database;
  await fresh(1);
  await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW, weeks: [WEEK] }), {
    patience: QUICK,
  });
  const now = new Date();
  expect((await planDropHeld(pool, SET, { now })).steps).toEqual([]);
  const later = new Date(now.getTime() + 8 * 86_400_000);
  expect(
    await applyDropHeld(pool, await planDropHeld(pool, SET, { now: later }), { patience: QUICK }),
  ).toEqual([{ week: WEEK.toISOString(), error: null }]);
  await expectNothingLeft(pool);
  const { rows } = await pool.query(`select to_regclass('strata_held.balance_changes_2024_01_14') as held`);
  expect(rows).toEqual([{ held: null }]);
  expect((await planUndoConsolidation(pool, SET)).steps).toEqual([]);
});
