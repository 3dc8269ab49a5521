/** Held weeks are kept for their time, then dropped: small ones at once, large ones one a run; what it takes to undo goes with them. */
import { describe, expect, it } from 'vitest';
import {
  applyDrop,
  DROP_LARGE_BYTES,
  dropSteps,
  listHeld,
  planDrop,
  type HeldTable,
} from '../../src/warehouse/partitions/held.ts';
import { planUndoRetention } from '../../src/warehouse/partitions/retain/undo.ts';
import { openStream, valueOf, verified, WEEK } from '../balances/harness.ts';
import { expectRetained, fiveWeeks } from '../balances/retained.ts';
import { useDatabase } from '../database.ts';
import { presentFor, quietly, retain, retainTwoWeeks, stepNames, undo } from './retaining.ts';

const database = useDatabase();
const NOW = new Date('2030-01-01');

const heldTable = (table: Partial<HeldTable>): HeldTable => ({
  held_id: 1,
  set: 'logs',
  name: 'logs_2026_01_04',
  qualified: 'strata_held.logs_2026_01_04',
  reason: 'retained',
  state: 'held',
  lower: new Date('2026-01-04'),
  upper: new Date('2026-01-11'),
  bytes: 1,
  rows: 1,
  detached_at: new Date('2026-03-01'),
  drop_after: new Date('2026-03-08'),
  retention_id: 1,
  consolidation_id: null,
  ...table,
});

describe('a plan to drop', () => {
  const large = DROP_LARGE_BYTES + 1;

  it('takes all small tables and the oldest large one', () => {
    const { steps, notes } = dropSteps(
      [
        heldTable({ name: 'a', bytes: large }),
        heldTable({ name: 'b', bytes: DROP_LARGE_BYTES }),
        heldTable({ name: 'c', bytes: large }),
        heldTable({ name: 'd', bytes: null }),
      ],
      { now: NOW },
    );
    expect(steps.map(({ name }) => name)).toEqual(['drop a', 'drop b', 'drop d']);
    expect(notes).toEqual([expect.stringMatching(/^c waits for the next run/)]);
  });

  it('keeps what is held still, on its way, or held for a reason nobody answers for', () => {
    const tables = [
      heldTable({ name: 'early', drop_after: new Date(NOW.getTime() + 1) }),
      heldTable({ name: 'due', drop_after: NOW }),
      heldTable({ name: 'moving', state: 'detaching', drop_after: null }),
      heldTable({ name: 'old', reason: 'consolidated' }),
    ];
    expect(dropSteps(tables, { now: NOW }).steps.map(({ name }) => name)).toEqual(['drop due']);
    const before = { consolidated: (held: HeldTable) => [`select ${held.held_id}`] };
    expect(dropSteps(tables, { now: NOW, before }).steps.map(({ sql }) => sql)).toEqual([
      ['select 1', 'select strata.drop_held(1) as bytes'],
    ]);
  });
});

describe('held weeks', () => {
  it('are dropped with their leaves when their time has come, and not before', async () => {
    const { pool } = database;
    const player = openStream(pool, 'held', { check: () => Promise.resolve() });
    await retainTwoWeeks(pool, 'account_balances');
    await player.play(fiveWeeks(), 0);
    await retain(pool, 'account_balances', 1);
    const [first] = await listHeld(pool, 'account_balances');
    expect(first).toMatchObject({
      name: 'account_balances_2026_01_04',
      qualified: 'strata_held.account_balances_2026_01_04',
      state: 'held',
    });
    const hold = first!.drop_after!.getTime() - first!.detached_at.getTime();
    expect(hold).toBe(7 * 86_400_000);
    expect((await planDrop(pool, 'account_balances', { now: new Date() })).steps).toEqual([]);
    // The function goes by the clock, whatever a plan was told.
    const hasty = await planDrop(pool, 'account_balances', { now: NOW });
    await expect(applyDrop(pool, hasty, quietly())).rejects.toThrow(/kept until/);

    await pool.query(`update strata.partition_sets set hold = '0 days' where set_name = 'account_balances'`);
    await retain(pool, 'account_balances', 3);
    await pool.query('update strata.held_partitions set drop_after = detached_at');
    await pool.query('drop table strata_held.account_balances_2026_01_18'); // by hand
    const plan = await planDrop(pool, 'account_balances', { now: new Date() });
    expect(stepNames(plan)).toEqual(
      ['2026_01_04', '2026_01_11', '2026_01_18'].map((week) => `drop account_balances_${week}`),
    );
    const dropped = await applyDrop(pool, plan, quietly());
    expect(dropped.tables).toHaveLength(3);
    expect(dropped.bytes).toBeGreaterThan(0);
    expect(await listHeld(pool)).toEqual([]);
    expect(
      await valueOf(
        pool,
        `select count(*)::int from pg_class where relnamespace = 'strata_held'::regnamespace`,
      ),
    ).toBe(0);
    expect(await valueOf(pool, 'select count(*)::int from strata.held_openings')).toBe(0);
    expect((await planUndoRetention(pool, 'account_balances', { now: presentFor(3) })).steps).toEqual([]);
    await expectRetained(pool, player, 3n * WEEK);
  });

  it('of changes are put back from the last dropped week on', async () => {
    const { pool } = database;
    await retainTwoWeeks(pool, 'balance_changes');
    await retain(pool, 'balance_changes', 3);
    await pool.query(
      `update strata.held_partitions set drop_after = detached_at where partition_name = 'balance_changes_2026_01_04'`,
    );
    await applyDrop(pool, await planDrop(pool, 'balance_changes', { now: new Date() }), quietly());
    const plan = await planUndoRetention(pool, 'balance_changes', { now: presentFor(3) });
    expect(plan.notes).toContainEqual(expect.stringMatching(/balance_changes_2026_01_04 stays out/));
    expect((await undo(pool, 'balance_changes')).weeks).toBe(2);
    expect(
      await valueOf(
        pool,
        `select (retained_from, changes_from) = ('2026-01-11 00:00+00', '2026-01-11 00:00+00')
                             from strata.partition_sets, strata.balance_status where set_name = 'balance_changes'`,
      ),
    ).toBe(true);
    expect(await verified(pool)).toMatchObject({ differences: 0, first: [] });
  });

  it('that are one table each move, are guarded and come back alike', async () => {
    const { pool } = database;
    const plain = 'public.points_2026_01_04';
    await pool.query(`
      create table public.points (at timestamptz not null, who bytea not null) partition by range (at);
      create table ${plain} partition of public.points for values from ('2026-01-04 00:00+00') to ('2026-01-11 00:00+00');
      insert into public.points values ('2026-01-05 00:00+00', '\\x01');
      select strata.create_partition_set('points', 'public.points', 'at', 'who')`);
    await retainTwoWeeks(pool, 'points');
    const where = (): Promise<string> =>
      valueOf(pool, `select c.oid::regclass::text from pg_class c where c.relname = 'points_2026_01_04'`);
    await retain(pool, 'points', 1);
    expect(await where()).toBe('strata_held.points_2026_01_04');
    expect((await listHeld(pool, 'points'))[0]?.bytes).toBeGreaterThan(0);
    await expect(pool.query(`delete from strata_held.points_2026_01_04`)).rejects.toThrow(
      /not part of its set/,
    );
    await undo(pool, 'points');
    expect(await valueOf(pool, 'select count(*)::int from public.points')).toBe(1);
    await pool.query('delete from public.points');
    await retain(pool, 'points', 1);
    await pool.query(`update strata.held_partitions set drop_after = detached_at where set_name = 'points'`);
    const dropped = await applyDrop(pool, await planDrop(pool, 'points', { now: new Date() }), quietly());
    expect(dropped.tables).toEqual(['points_2026_01_04']);
    expect(await where()).toBeUndefined();
  });

  it('that somebody uses again are left to them', async () => {
    const { pool } = database;
    await retain(pool, 'balance_changes', 2);
    await pool.query(`alter table strata_held.balance_changes_2026_01_11 set schema public`);
    await pool.query('update strata.held_partitions set drop_after = detached_at');
    const plan = await planDrop(pool, 'balance_changes', { now: new Date() });
    await expect(applyDrop(pool, plan, quietly())).rejects.toThrow(/is in use/);
    expect(await valueOf(pool, `select to_regclass('public.balance_changes_2026_01_11') is not null`)).toBe(
      true,
    );
  });
});
