/** Which weeks a retention takes, which it leaves, and what it refuses, each with its advice. */
import { expect } from 'vitest';
import { applyRetain } from '../../src/warehouse/partitions/retain/apply.ts';
import { planRetain } from '../../src/warehouse/partitions/retain/plan.ts';
import { planUndoRetention } from '../../src/warehouse/partitions/retain/undo.ts';
import { DAY, instant, openStream } from '../balances/harness.ts';
import { fiveWeeks } from '../balances/retained.ts';
import {
  attachedWeeks,
  inItsOwn,
  presentFor,
  quietly,
  retain,
  retainTwoWeeks,
  stepNames,
  undo,
} from './retaining.ts';

const anything = { check: () => Promise.resolve() };

inItsOwn(
  'keeps the week that holds the cutoff, by the microsecond, and everything where it is null',
  async ({ pool }) => {
    const player = openStream(pool, 'edges', anything);
    await player.play(fiveWeeks(), 0);
    const none = await planRetain(pool, 'balance_changes', { now: new Date('2030-01-01') });
    expect(none).toMatchObject({ steps: [], notes: [expect.stringMatching(/keeps everything/)] });
    await retainTwoWeeks(pool, 'balance_changes');
    const at = async (now: string): Promise<string[]> =>
      stepNames(await planRetain(pool, 'balance_changes', { now: new Date(now) }));
    expect(await at('2026-01-24T23:59:59.999Z')).toEqual([]);
    expect(await at('2026-01-25T00:00:00.000Z')).toEqual([
      'begin at 2026-01-11',
      'detach balance_changes_2026_01_04',
      'hold balance_changes_2026_01_04',
    ]);
    expect(await at('2026-01-31T23:59:59.999Z')).toHaveLength(3);
    expect(await at('2026-02-01T00:00:00Z')).toHaveLength(5);
    // A month is a month: 31 March less a month is 28 February, in the week of the 22nd.
    await pool.query(
      `update strata.partition_sets set retain = '1 month' where set_name = 'balance_changes'`,
    );
    expect((await at('2026-03-31T00:00:00Z')).at(0)).toBe('begin at 2026-02-08');
  },
);

inItsOwn('refuses clearly what it cannot do', async ({ pool }) => {
  const player = openStream(pool, 'refused', anything);
  await player.play(fiveWeeks(), 0);
  await retainTwoWeeks(pool, 'account_balances', 'balance_changes');
  const plan = await planRetain(pool, 'account_balances', { now: presentFor(1) });
  await pool.query(`select strata.ensure_weeks('account_balances', '2026-04-01', '2026-04-01')`);
  await expect(applyRetain(pool, plan, quietly())).rejects.toMatchObject({
    kind: 'conflict',
    message: /no longer what the plan/,
  });
  expect(await planUndoRetention(pool, 'account_balances', { now: presentFor(1) })).toMatchObject({
    steps: [],
  });

  await retain(pool, 'account_balances', 1);
  await retain(pool, 'account_balances', 2);
  const older = { now: presentFor(2), week: new Date(instant(DAY)) };
  await expect(planUndoRetention(pool, 'account_balances', older)).rejects.toMatchObject({
    kind: 'conflict',
    detail: { remedy: expect.stringMatching(/newest first/) as string },
  });
  await expect(
    pool.query('select strata.undo_retention(min(retention_id)) from strata.retentions'),
  ).rejects.toThrow(/not the newest/);
  // Somebody has made the week again by hand.
  await pool.query(
    `create table strata.squatter partition of strata.account_balances for values from ('2026-01-12 00:00+00') to ('2026-01-13 00:00+00')`,
  );
  await expect(planUndoRetention(pool, 'account_balances', { now: presentFor(2) })).rejects.toMatchObject({
    message: expect.stringMatching(/squatter is in its place/) as string,
  });
  await expect(
    pool.query('select strata.undo_retention(max(retention_id)) from strata.retentions'),
  ).rejects.toThrow(/squatter is in its place/);
  await pool.query('drop table strata.squatter');
  await pool.query(`drop table strata_held.account_balances_2026_01_11`);
  await expect(planUndoRetention(pool, 'account_balances', { now: presentFor(2) })).rejects.toMatchObject({
    message: expect.stringMatching(/account_balances_2026_01_11 is dropped/) as string,
  });

  await pool.query(`create table strata.stray partition of strata.balance_changes default`);
  await expect(planRetain(pool, 'balance_changes', { now: presentFor(2) })).rejects.toMatchObject({
    kind: 'conflict',
    message: expect.stringMatching(/DEFAULT partition, strata.stray/) as string,
  });
  await pool.query('drop table strata.stray');
  await pool.query('create table strata_held.balance_changes_2026_01_04_hash_1 ()');
  await expect(planRetain(pool, 'balance_changes', { now: presentFor(2) })).rejects.toMatchObject({
    message: expect.stringMatching(/strata_held holds balance_changes_2026_01_04/) as string,
  });
});

inItsOwn(
  'takes what is past whatever the gaps, leaves foreign partitions alone, and may leave nothing',
  async ({ pool }) => {
    await retainTwoWeeks(pool, 'snapshot_rows');
    expect((await planRetain(pool, 'snapshot_rows', { now: presentFor(9) })).steps).toEqual([]);
    await pool.query(`select strata.ensure_weeks('snapshot_rows', '2025-12-30', '2025-12-30')`);
    await pool.query(`select strata.ensure_weeks('snapshot_rows', '2026-01-20', '2026-01-20')`);
    await pool.query(
      `create table strata.odd_days partition of strata.snapshot_rows for values from ('2026-01-05 00:00+00') to ('2026-01-08 00:00+00')`,
    );
    const plan = await planRetain(pool, 'snapshot_rows', { now: presentFor(9) });
    expect(stepNames(plan)).toEqual([
      'begin at 2026-01-25',
      'detach snapshot_rows_2025_12_28',
      'hold snapshot_rows_2025_12_28',
      'detach snapshot_rows_2026_01_18',
      'hold snapshot_rows_2026_01_18',
    ]);
    expect(plan.notes).toContainEqual(expect.stringMatching(/odd_days \(odd\) .* detach it yourself/));
    await applyRetain(pool, plan, quietly());
    expect(await attachedWeeks(pool, 'snapshot_rows')).toEqual(['odd_days']);
    expect((await planRetain(pool, 'snapshot_rows', { now: presentFor(9) })).steps).toEqual([]);
    await undo(pool, 'snapshot_rows');
    expect(await attachedWeeks(pool, 'snapshot_rows')).toHaveLength(3);
  },
);

inItsOwn('keeps changes that wait to be folded', async ({ pool }) => {
  const player = openStream(pool, 'waiting', { ...anything, fold: 'deferred' });
  await retainTwoWeeks(pool, 'balance_changes');
  await player.play(fiveWeeks(), 0);
  const plan = await planRetain(pool, 'balance_changes', { now: presentFor(3) });
  expect(plan).toMatchObject({
    steps: [],
    notes: [expect.stringMatching(/not folded yet/), expect.anything()],
  });
  await expect(
    pool.query(
      `select strata.begin_retention('balance_changes', '2026-01-11 00:00+00', '{strata.balance_changes_2026_01_04}')`,
    ),
  ).rejects.toThrow(/wait to be folded/);
});
