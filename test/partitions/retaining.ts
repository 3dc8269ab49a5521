/** Plans and applies retention in tests, and reads what it left. */
import { describe, it } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { messageOf } from '../../src/runtime/errors.ts';
import type { ApplyOptions } from '../../src/warehouse/partitions/apply.ts';
import type { Plan } from '../../src/warehouse/partitions/plan.ts';
import { applyRetain, type Retained } from '../../src/warehouse/partitions/retain/apply.ts';
import { planRetain } from '../../src/warehouse/partitions/retain/plan.ts';
import {
  applyUndoRetention,
  planUndoRetention,
  type RetentionUndone,
} from '../../src/warehouse/partitions/retain/undo.ts';
import { instant, WEEK } from '../balances/harness.ts';
import { useDatabase, type TestDatabase } from '../database.ts';

/** Applies without telling anybody. */
export const quietly = (): ApplyOptions => ({
  signal: new AbortController().signal,
  onEvent: () => undefined,
});

/** The present from which `retain: 14 days` keeps week `first` (counted from the first Sunday) and what is newer. */
export const presentFor = (first: number): Date => new Date(instant(BigInt(first + 2) * WEEK + WEEK / 2n));

/** Gives sets a policy of 14 days. */
export const retainTwoWeeks = async (pool: Pool, ...sets: readonly string[]): Promise<void> => {
  await pool.query(`update strata.partition_sets set retain = '14 days' where set_name = any ($1)`, [sets]);
};

/** A loader may make a week between plan and apply. */
const PLANS_MAX = 5;

/** Plans and applies, so that week `first` is the oldest that is kept. */
export const retain = async (pool: Pool, set: string, first: number): Promise<Retained> => {
  for (let planned = 1; ; planned++) {
    const plan = await planRetain(pool, set, { now: presentFor(first) });
    try {
      return await applyRetain(pool, plan, quietly());
    } catch (thrown) {
      const isStale = /is no longer what the plan/.test(messageOf(thrown));
      if (!isStale || planned === PLANS_MAX) throw thrown;
    }
  }
};

/** Plans and applies the undo of the newest retention. */
export const undo = async (pool: Pool, set: string): Promise<RetentionUndone> =>
  applyUndoRetention(pool, await planUndoRetention(pool, set, { now: presentFor(0) }), quietly());

/** Names of a set's attached weeks. */
export const attachedWeeks = async (pool: Pool, set: string): Promise<string[]> => {
  const { rows } = await pool.query<{ name: string }>(
    'select partition_name as name from strata.week_info($1) where not detach_pending',
    [set],
  );
  return rows.map(({ name }) => name);
};

/** The step names of a plan. */
export const stepNames = ({ steps }: Plan): string[] => steps.map(({ name }) => name);

/** A test with a warehouse of its own: it takes weeks of the whole of it out. */
export const inItsOwn = (says: string, body: (database: TestDatabase) => Promise<void>): void => {
  describe('retention', () => {
    const database = useDatabase();
    it(says, () => body(database));
  });
};
