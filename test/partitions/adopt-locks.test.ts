/** Which locks an adoption takes at each step, and its undo: those that the plan announces, on the table as its users know it. */
import { expect, it } from 'vitest';
import { planAdopt } from '../../src/warehouse/partitions/adopt/plan.ts';
import { planUndoAdopt } from '../../src/warehouse/partitions/adopt/undo.ts';
import type { Plan } from '../../src/warehouse/partitions/plan.ts';
import { useDatabase } from '../database.ts';
import { BALANCES, fillBalances } from './adopt.ts';
import { BALANCES_REQUEST, BALANCES_SET, PRESENT } from './adopt-settings.ts';
import { contents } from './consolidate.ts';
import { expectLocks } from './locks.ts';

const database = useDatabase();
const TABLE = 'account_balances';

/** Runs the plan; of the phases that lock the table more than a reader does, the mode. */
const lockedBy = async (plan: Plan): Promise<Record<string, string>> => {
  const { rows } = await database.pool.query<{ oid: number }>(
    `select 'public.${TABLE}'::regclass::oid as oid`,
  );
  const taken = await expectLocks(database.url, plan, new Map([[rows[0]?.oid ?? 0, TABLE]]));
  return Object.fromEntries(
    Object.entries(taken).flatMap(([phase, { [TABLE]: mode = 'ACCESS SHARE' }]) =>
      mode === 'ACCESS SHARE' ? [] : [[phase, mode]],
    ),
  );
};

it('are those the plan announces: writers wait for the capture, readers for the exchange alone', async () => {
  const { pool } = database;
  await pool.query(BALANCES);
  await fillBalances(pool, 300);
  const before = await contents(pool, `public.${TABLE}`);
  const plan = await planAdopt(pool, BALANCES_REQUEST, { now: PRESENT });
  expect(await lockedBy(plan)).toEqual({ capture: 'SHARE ROW EXCLUSIVE', swap: 'ACCESS EXCLUSIVE' });
  expect(await contents(pool, `public.${TABLE}`)).toBe(before);
  // Once exchanged, the partitions have another name and are nobody's.
  const undo = await planUndoAdopt(pool, BALANCES_SET);
  const steps = undo.steps.filter(({ name }) => !name.startsWith('drop '));
  expect(await lockedBy({ ...undo, steps })).toEqual({ swap: 'ACCESS EXCLUSIVE' });
  expect(await contents(pool, `public.${TABLE}`)).toBe(before);
});
