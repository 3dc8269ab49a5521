/** The verb `ensure`: which weeks it makes, what it leaves alone and says so, and that apply does the plan and nothing else. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { instantOf, instantText, weekOf, weekStart } from '../../src/runtime/instant.ts';
import type { StepEvent } from '../../src/warehouse/partitions/apply.ts';
import {
  applyEnsure,
  judgeWeeks,
  planEnsure,
  type Extent,
} from '../../src/warehouse/partitions/ensure-plan.ts';
import { readOverview, runwayOf } from '../../src/warehouse/partitions/overview.ts';
import type { Plan } from '../../src/warehouse/partitions/plan.ts';
import { useDatabase } from '../database.ts';
import { propertyOptions } from '../seed.ts';

const database = useDatabase();
const NOW = new Date('2026-01-07T12:00:00Z');
const never = new AbortController().signal;

/** A set of its own for each test, so that one's odd partitions are not another's. */
let number = 0;
const createSet = async (): Promise<string> => {
  const set = `visits_${++number}`;
  await database.pool.query(
    `create table public.${set} (at timestamptz not null, who bytea not null) partition by range (at)`,
  );
  await database.pool.query(`select strata.create_partition_set($1, $2::regclass, 'at', 'who', 2)`, [
    set,
    `public.${set}`,
  ]);
  return set;
};

const plan = (set: string, weeks?: readonly string[]): Promise<Plan> =>
  planEnsure(database.pool, set, {
    now: NOW,
    ...(weeks && { weeks: weeks.map((day) => new Date(day)) }),
  });

const apply = (one: Plan, signal = never, events: StepEvent[] = []): ReturnType<typeof applyEnsure> =>
  applyEnsure(database.pool, one, { signal, onEvent: (event) => events.push(event) });

const daysOf = ({ steps }: Plan): string[] => steps.map(({ week }) => week!.slice(0, 10));

const partitionsOf = async (set: string): Promise<string[]> => {
  const { rows } = await database.pool.query<{ name: string }>(
    'select partition_name as name from strata.week_info($1)',
    [set],
  );
  return rows.map(({ name }) => name);
};

describe('a plan', () => {
  it('reaches from the present week to premake ahead, a step for each week that is missing', async () => {
    const set = await createSet();
    await apply(await plan(set, ['2026-01-14']));
    const made = await plan(set);
    expect(daysOf(made)).toEqual(['2026-01-04', '2026-01-18', '2026-01-25', '2026-02-01']);
    expect(made).toMatchObject({ verb: 'ensure', set, notes: [] });
    expect(made.steps[0]).toEqual({
      name: `create ${set}_2026_01_04`,
      week: '2026-01-04T00:00:00Z',
      sql: [`select * from strata.ensure_weeks('${set}', '2026-01-04T00:00:00Z', '2026-01-04T00:00:00Z')`],
      locks: [{ relation: `public.${set}`, mode: 'SHARE UPDATE EXCLUSIVE', held: 'moment' }],
      rows: null,
      bytes: null,
      why: 'the week does not exist; made beside the table with 2 hash partitions of who, attached without a scan',
    });
    expect(await partitionsOf(set)).toEqual([`${set}_2026_01_11`]);
  });

  it('notes the gaps between weeks and leaves them', async () => {
    const set = await createSet();
    await apply(await plan(set, ['2025-11-02', '2025-11-23', '2025-12-14', '2026-01-05']));
    const { notes } = await plan(set, ['2026-01-05']);
    expect(notes).toHaveLength(3);
    expect(notes[0]).toContain('no week from 2025-11-09 to 2025-11-23');
    expect(notes[0]).toContain('--from 2025-11-09 --to 2025-11-16');
    expect((await plan(set, ['2025-11-09', '2025-11-16'])).notes).toHaveLength(2);
  });

  it('leaves a week alone that a partition covers, and says so where it does in part only', async () => {
    const set = await createSet();
    await database.pool.query(`
      create table public.${set}_month partition of public.${set} for values from ('2026-01-01') to ('2026-01-28');
      create table public.${set}_past partition of public.${set} for values from (minvalue) to ('2025-01-01')`);
    const made = await plan(set, ['2024-06-02', '2026-01-05', '2026-01-25', '2026-02-01']);
    expect(daysOf(made)).toEqual(['2026-02-01']);
    expect(made.notes).toEqual([
      expect.stringContaining(`week 2026-01-25 is covered in part only, by public.${set}_month`),
    ]);
  });

  it('waits for an interrupted detach to be finished', async () => {
    const set = await createSet();
    await apply(await plan(set, ['2026-01-04']));
    const reader = createPool(database.url, { max: 1 });
    const admin = createPool(database.url, { max: 1 });
    await reader.query('begin');
    await reader.query(`select * from public.${set}`);
    await admin.query(`set lock_timeout = '50ms'`);
    await expect(
      admin.query(`alter table public.${set} detach partition public.${set}_2026_01_04 concurrently`),
    ).rejects.toThrow(/lock timeout/);
    await reader.query('rollback');
    await reader.end();
    await admin.end();
    const made = await plan(set, ['2026-01-04']);
    expect(made.steps).toEqual([]);
    expect(made.notes[0]).toMatch(/the detach of .* was interrupted/);
  });

  it('is refused where a DEFAULT partition has rows; an empty one is locked for a moment', async () => {
    const set = await createSet();
    await database.pool.query(`create table public.${set}_rest partition of public.${set} default`);
    expect((await plan(set, ['2026-01-04'])).steps[0]!.locks).toContainEqual({
      relation: `public.${set}_rest`,
      mode: 'ACCESS EXCLUSIVE',
      held: 'moment',
    });
    await database.pool.query(`insert into public.${set} values ('2026-01-05', '\\x01')`);
    await expect(plan(set, ['2026-01-04'])).rejects.toMatchObject({
      kind: 'conflict',
      message: expect.stringContaining(`public.${set}_rest, with rows`) as string,
      detail: { remedy: expect.stringContaining('Detach it') as string },
    });
  });

  it('is refused where a table has the name of a missing week', async () => {
    const set = await createSet();
    await database.pool.query(`create table public.${set}_2026_01_04 ()`);
    await expect(plan(set)).rejects.toMatchObject({
      kind: 'conflict',
      message: expect.stringContaining(`public.${set}_2026_01_04 has the name of a missing week`) as string,
    });
  });

  it('is refused for an unknown set, and for more than ten years', async () => {
    await expect(plan('nothing')).rejects.toMatchObject({ kind: 'config' });
    const weeks = Array.from({ length: 524 }, (_unused, week) => instantText(weekStart(week)));
    await expect(plan(await createSet(), weeks)).rejects.toMatchObject({ kind: 'usage' });
  });
});

describe('apply', () => {
  it('makes the weeks one by one, each committed by itself, and tells of each', async () => {
    const set = await createSet();
    const events: StepEvent[] = [];
    const made = await plan(set, ['2026-01-04', '2026-01-11']);
    const { rows: before } = await database.pool.query<{ xid: number }>(
      'select pg_current_xact_id()::text::bigint as xid',
    );
    expect(await apply(made, never, events)).toEqual({
      set,
      created: ['2026-01-04T00:00:00Z', '2026-01-11T00:00:00Z'],
    });
    expect(events.map(({ state, at, of }) => `${at}/${of} ${state}`)).toEqual([
      '1/2 begun',
      '1/2 done',
      '2/2 begun',
      '2/2 done',
    ]);
    const { rows } = await database.pool.query<{ xid: number }>(
      `select distinct c.xmin::text::bigint as xid from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = $1::regclass`,
      [`public.${set}`],
    );
    expect(rows).toHaveLength(2);
    for (const { xid } of rows) expect(xid).toBeGreaterThan(before[0]!.xid);
  });

  it('refuses a plan that is out of date, and does nothing', async () => {
    const set = await createSet();
    const old = await plan(set);
    await database.pool.query(`select strata.ensure_weeks($1, '2026-01-05', '2026-01-05')`, [set]);
    await expect(apply(old)).rejects.toMatchObject({ kind: 'conflict' });
    expect(await partitionsOf(set)).toEqual([`${set}_2026_01_04`]);
  });

  it('stops between two weeks: what is made stays, the rest is for the next time', async () => {
    const set = await createSet();
    const stop = new AbortController();
    const made = await plan(set);
    await expect(
      applyEnsure(database.pool, made, {
        signal: stop.signal,
        onEvent: ({ at, state }) => {
          if (at === 2 && state === 'done') stop.abort();
        },
      }),
    ).rejects.toMatchObject({
      kind: 'cancelled',
      message: `stopped before the step "${made.steps[2]!.name}"`,
    });
    expect(await partitionsOf(set)).toHaveLength(2);
    expect(daysOf(await plan(set))).toEqual(daysOf(made).slice(2));
  });

  it('of two at once lets one work; the other is told of it, or finds that its plan is out of date', async () => {
    const set = await createSet();
    const made = await plan(set);
    const ends = await Promise.allSettled([apply(made), apply(made)]);
    expect(ends.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    expect(ends.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { kind: 'conflict' } });
    expect(await partitionsOf(set)).toHaveLength(5);
  });
});

describe('weeks', () => {
  const DAY_US = 86_400_000_000;

  it('are missing when no instant of theirs is covered, and noted when some are', () => {
    const first = weekOf(instantOf(NOW));
    const day = fc.integer({ min: 0, max: 42 });
    const dateAt = (days: number): Date => new Date(instantText(weekStart(first) + days * DAY_US));
    fc.assert(
      fc.property(
        fc.uniqueArray(day, { maxLength: 9 }),
        fc.array(fc.boolean(), { maxLength: 8 }),
        (cuts, kept) => {
          const edges = cuts.toSorted((a, b) => a - b);
          const partitions = edges
            .slice(1)
            .flatMap((to, index): (Extent & { from: number; to: number })[] => {
              const from = edges[index]!;
              if (kept[index] !== true) return [];
              return [
                {
                  from,
                  to,
                  qualified: `p${from}`,
                  lower: dateAt(from),
                  upper: dateAt(to),
                  kind: 'odd',
                  detach_pending: false,
                },
              ];
            });
          const { missing, notes } = judgeWeeks(
            partitions,
            [0, 1, 2, 3, 4, 5].map((week) => first + week),
          );
          const covered = [0, 1, 2, 3, 4, 5].map(
            (week) =>
              [0, 1, 2, 3, 4, 5, 6].filter((weekday) =>
                partitions.some(({ from, to }) => from <= week * 7 + weekday && week * 7 + weekday < to),
              ).length,
          );
          expect(missing.map((week) => week - first)).toEqual(
            [0, 1, 2, 3, 4, 5].filter((week) => covered[week] === 0),
          );
          expect(notes).toHaveLength(covered.filter((days) => days > 0 && days < 7).length);
        },
      ),
      propertyOptions(300),
    );
  });

  it('ahead are counted up to the first gap', async () => {
    const set = await createSet();
    const runway = async (): Promise<number> =>
      (await readOverview(database.pool, [set], NOW))[0]!.runway_weeks;
    expect(await runway()).toBe(-1);
    await apply(await plan(set, ['2026-01-11']));
    expect(await runway()).toBe(-1);
    await apply(await plan(set, ['2026-01-04']));
    expect(await runway()).toBe(1);
    await apply(await plan(set, ['2026-01-25']));
    expect(await runway()).toBe(1);
    await apply(await plan(set));
    expect(await runway()).toBe(4);
    expect(runwayOf([], NOW)).toBe(-1);
  });
});
