/** Closed weeks are frozen until every page is proven all-visible, or somebody is named who keeps them from it; parents get statistics. */
import { Client } from 'pg';
import { describe, expect, it } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import {
  applyOptimize,
  OPTIMIZE_BYTES_MAX,
  OPTIMIZE_WEEKS_MAX,
  optimizeSteps,
  planOptimize,
  type OptimizeFacts,
  type Optimized,
  type WeekHeap,
} from '../../src/warehouse/partitions/optimize.ts';
import { openStream, valueOf } from '../balances/harness.ts';
import { fiveWeeks } from '../balances/retained.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { quietly } from './retaining.ts';

const database = useDatabase();
/** Inside the week of 1 February: the four before it are closed. */
const NOW = new Date('2026-02-04T00:00:00Z');

const optimize = async (pool: Pool): Promise<Optimized> =>
  applyOptimize(pool, await planOptimize(pool, 'balance_changes', { now: NOW }), quietly());

const week = (number: number, rest: Partial<WeekHeap> = {}): WeekHeap => ({
  name: `logs_${number}`,
  qualified: `public.logs_${number}`,
  lower: new Date(Date.UTC(2025, 0, 5 + 7 * number)),
  upper: new Date(Date.UTC(2025, 0, 12 + 7 * number)),
  bytes: 1_000_000,
  rows: 10,
  pages: 10,
  visible_pages: 3,
  touched: 0,
  ...rest,
});

const facts = (weeks: readonly WeekHeap[], rest: Partial<OptimizeFacts> = {}): OptimizeFacts => ({
  root: 'public.logs',
  version: 180_004,
  analyzed_at: NOW,
  root_rows: 100,
  leaf_rows: 100,
  weeks,
  ...rest,
});

describe('a plan to optimize', () => {
  const namesOf = (...[weeks, rest]: Parameters<typeof facts>): string[] =>
    optimizeSteps(facts(weeks, rest), NOW).steps.map(({ name }) => name);

  it('takes closed weeks that are not proven, or were written to since', () => {
    const edge = NOW.getTime() - 86_400_000;
    expect(
      namesOf([
        week(1, { visible_pages: 10 }),
        week(2, { visible_pages: 10, touched: 1 }),
        week(3),
        week(4, { upper: new Date(edge) }),
        week(5, { upper: new Date(edge + 1) }),
      ]),
    ).toEqual(['vacuum logs_2', 'vacuum logs_3', 'vacuum logs_4']);
  });

  it('is bounded by weeks and by bytes, one week at least', () => {
    const many = Array.from({ length: 20 }, (_unused, number) => week(number));
    expect(namesOf(many)).toHaveLength(OPTIMIZE_WEEKS_MAX);
    expect(optimizeSteps(facts(many), NOW).notes).toEqual(['8 more closed weeks are left to the next run']);
    expect(namesOf([week(1, { bytes: OPTIMIZE_BYTES_MAX + 1 }), week(2)])).toEqual(['vacuum logs_1']);
  });

  it('analyzes the parent when that was never done, is old, or says little of its rows any more', () => {
    const done = [week(1, { visible_pages: 10 })];
    expect(namesOf(done)).toEqual([]);
    expect(namesOf(done, { leaf_rows: 111 })).toEqual(['analyze public.logs']);
    expect(namesOf(done, { leaf_rows: 89 })).toEqual(['analyze public.logs']);
    expect(namesOf(done, { leaf_rows: 110 })).toEqual([]);
    expect(namesOf(done, { analyzed_at: null })).toEqual(['analyze public.logs']);
    expect(namesOf(done, { analyzed_at: new Date(NOW.getTime() - 8 * 86_400_000) })).toHaveLength(1);
    expect(namesOf([], { analyzed_at: null })).toEqual([]);
    const sqlOf = (version: number): unknown =>
      optimizeSteps(facts(done, { root_rows: null, version }), NOW).steps[0]?.sql;
    expect(sqlOf(180_000)).toEqual(['analyze only public.logs']);
    expect(sqlOf(170_006)).toEqual(['analyze public.logs']);
  });
});

describe('optimize', () => {
  it('proves closed weeks all-visible; names who holds them back; does not do it twice', async () => {
    const { pool } = database;
    const player = openStream(pool, 'optimize', { check: () => Promise.resolve() });
    const holder = new Client({ connectionString: database.url, application_name: 'the holder' });
    await holder.connect();
    await player.play(fiveWeeks(), 0);
    await holder.query('begin isolation level repeatable read');
    await holder.query('select count(*) from strata.streams');
    await pool.query(`delete from strata.balance_changes where block_time < '2026-01-06'`);
    const held = await optimize(pool);
    expect(held.analyzed).toBe(true);
    expect(held.weeks.map(({ week: name }) => name)).toEqual(
      ['2026_01_04', '2026_01_11', '2026_01_18', '2026_01_25'].map((name) => `balance_changes_${name}`),
    );
    expect(held.weeks[0]).toMatchObject({
      proven: false,
      held_back_by: expect.stringMatching(/the holder/) as string,
    });
    await holder.query('commit');
    await holder.end();

    const freed = await optimize(pool);
    expect(freed.weeks.length).toBeGreaterThan(0);
    expect(freed.weeks.every(({ proven, held_back_by }) => proven && held_back_by === null)).toBe(true);
    const { rows } = await pool.query(
      `select count(*)::int as leaves, bool_and(c.relallvisible = c.relpages and c.relpages > 0 or pg_relation_size(c.oid) = 0) as visible
         from strata.week_info('balance_changes') w cross join lateral pg_partition_tree(w.partition) t join pg_class c on c.oid = t.relid
        where t.isleaf and w.upper_bound <= '2026-02-01'`,
    );
    expect(rows).toEqual([{ leaves: 16, visible: true }]);
    // Sessions tell the statistics of what they wrote a moment late.
    await until('nothing to be due any more', async () => {
      await optimize(pool);
      return (await planOptimize(pool, 'balance_changes', { now: NOW })).steps.length === 0;
    });
    expect(
      await valueOf(
        pool,
        `select count(*)::int from pg_stats where schemaname = 'strata' and tablename = 'balance_changes' and inherited`,
      ),
    ).toBeGreaterThan(5);
  });

  it('locks nobody out', async () => {
    const { pool } = database;
    const writer = new Client({ connectionString: database.url });
    await writer.connect();
    await writer.query(`insert into strata.balance_changes values ('\\x01', 1, '2026-01-05', 1, 1, 1, 1)`);
    await writer.query('select pg_stat_force_next_flush()');
    const plan = await planOptimize(pool, 'balance_changes', { now: NOW });
    const [step] = plan.steps;
    expect(step?.locks).toEqual([
      { relation: 'strata.balance_changes_2026_01_04', mode: 'SHARE UPDATE EXCLUSIVE', held: 'step' },
    ]);
    await writer.query('begin');
    await writer.query(`insert into strata.balance_changes values ('\\x02', 1, '2026-01-05', 1, 1, 1, 1)`);
    await applyOptimize(pool, plan, quietly()); // returns while that transaction is open
    await writer.query('rollback');
    await writer.end();
    expect((await planOptimize(pool, 'snapshot_rows', { now: NOW })).steps).toEqual([]);
  });
});
