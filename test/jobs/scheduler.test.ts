/** The scheduler under a clock that the test moves: due times, catch-up, one job at a time, refusals, thresholds. */
import { describe, expect, it } from 'vitest';
import { scheduleOf } from '../../src/jobs/scheduler/settings.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { createFakeClock } from './fake-clock.ts';
import { journalOf, testVerb } from './maintaining.ts';
import { POLL_MS, resting, schedule, SETS, switchedOn, useSchedulers } from './scheduling.ts';

const database = useDatabase();
const { start, outcomes } = useSchedulers(database);

describe('a due time', () => {
  it('is served once for every set, and recorded', async () => {
    const clock = createFakeClock('2026-01-07T03:59:00Z');
    const optimize = testVerb();
    await database.pool.query(
      `insert into strata.maintenance_runs (set_name, verb, outcome, started_at) select set_name, 'optimize', 'done', '2026-01-06 04:00+00' from strata.partition_sets`,
    );
    const scheduler = start(clock, { optimize });
    await scheduler.has('leading');
    await resting(clock);
    expect(optimize.calls).toEqual([]);
    clock.advance(60_000);
    await until('three runs', () => optimize.calls.length === 3);
    await resting(clock);
    clock.advance(3_600_000);
    await resting(clock);
    expect(optimize.calls.map(({ set }) => set)).toEqual(SETS);
    expect((await journalOf(database.pool)).slice(3)).toMatchObject(
      SETS.map((set) => ({
        set_name: set,
        outcome: 'done',
        asked_by: 'schedule',
        detail: { due: '2026-01-07T04:00:00.000Z' },
      })),
    );
    expect(await scheduler.stop()).toEqual({ runs: 3, failed: 0 });
  });

  it('that was missed is made up for at the start, once however many there were', async () => {
    const optimize = testVerb();
    const clock = createFakeClock('2026-01-30T12:00:00Z');
    start(clock, { optimize });
    await until('three runs', () => optimize.calls.length === 3);
    await resting(clock);
    expect(await outcomes()).toEqual(SETS.map((set) => `optimize ${set} done`));
    expect((await journalOf(database.pool))[0]!.detail).toMatchObject({ due: '2026-01-30T04:00:00.000Z' });
  });

  it.each([
    ['done', 'command', {}, 0],
    ['nothing', 'command', {}, 0],
    ['failed', 'schedule', {}, 0],
    ['stopped', 'schedule', {}, 3],
    ['failed', 'schedule', { vanished: true }, 3],
    ['done', 'command', { narrowed: true }, 3],
  ])(
    'counts as served after a run that %s (%s, %j): %i to make up for',
    async (outcome, by, detail, count) => {
      await database.pool.query(
        `insert into strata.maintenance_runs (set_name, verb, outcome, asked_by, detail, started_at, finished_at)
       select set_name, 'optimize', $1, $2, $3, '2026-01-07 04:30+00', '2026-01-07 04:31+00' from strata.partition_sets`,
        [outcome, by, JSON.stringify(detail)],
      );
      const optimize = testVerb();
      const clock = createFakeClock('2026-01-07T12:00:00Z');
      start(clock, { optimize });
      await resting(clock);
      expect(optimize.calls.length).toBe(count);
    },
  );

  it('before a set was made is none of its business, but the weeks it needs are', async () => {
    await database.pool.query(`update strata.partition_sets set created_at = '2026-01-07 11:00+00'`);
    const verbs = { optimize: testVerb(), ensure: testVerb() };
    const clock = createFakeClock('2026-01-07T12:00:00Z');
    start(clock, verbs, { schedule: switchedOn('ensure') });
    await resting(clock, 4);
    expect(verbs.optimize.calls).toEqual([]);
    expect(verbs.ensure.calls.length).toBe(3);
  });

  it('is served later by the lot of its verb, by tick and by catch-up alike', async () => {
    const optimize = testVerb();
    const clock = createFakeClock('2026-01-07T04:00:20Z');
    start(clock, { optimize }, { schedule: { ...schedule(), jitter_ms: 60_000 }, random: () => 0.5 });
    // At 04:00:20 the due time of today has not come for it; the one of yesterday has.
    await until('three runs', () => optimize.calls.length === 3);
    await resting(clock);
    expect((await journalOf(database.pool))[0]!.detail).toMatchObject({ due: '2026-01-06T04:00:00.000Z' });
    clock.advance(10_000);
    await until('six runs', () => optimize.calls.length === 6);
    expect((await journalOf(database.pool))[5]!.detail).toMatchObject({ due: '2026-01-07T04:00:00.000Z' });
  });

  it('takes a batch of weeks at most, and runs the verbs in the order of their needs', async () => {
    const order: string[] = [];
    const verb = (name: string): ReturnType<typeof testVerb> =>
      testVerb((set) => Promise.resolve(order.push(`${name} ${set}`)), 7);
    const verbs = {
      optimize: verb('optimize'),
      consolidate: verb('consolidate'),
      retain: verb('retain'),
      drop: verb('drop'),
      ensure: verb('ensure'),
    };
    const clock = createFakeClock('2026-01-30T12:00:00Z');
    start(clock, verbs, { schedule: scheduleOf(parseConfig('', {}), {}) });
    await resting(clock, 7);
    expect([...new Set(order.map((text) => text.split(' ')[0]))]).toEqual([
      'ensure',
      'retain',
      'drop',
      'consolidate',
      'optimize',
    ]);
    expect(order.filter((text) => text === 'consolidate balance_changes')).toHaveLength(5);
    expect(order.filter((text) => text === 'optimize balance_changes')).toHaveLength(7);
    const first = (await journalOf(database.pool)).find((row) => row.verb === 'consolidate');
    expect(first!.plan.notes).toEqual(['2 more weeks are left for the next run']);
  });
});

describe('a job', () => {
  it('does not overlap itself; what came due meanwhile comes after it', async () => {
    let inside = 0;
    let most = 0;
    const gates: (() => void)[] = [];
    const optimize = testVerb(async () => {
      most = Math.max(most, ++inside);
      await new Promise<void>((resolve) => gates.push(resolve));
      inside--;
    });
    const clock = createFakeClock('2026-01-07T03:59:00Z');
    const scheduler = start(clock, { optimize });
    await until('the first run', () => gates.length === 1);
    clock.advance(86_400_000 * 3);
    await scheduler.has('overlap');
    for (let run = 1; run <= 6; run++) {
      await until(`run ${run}`, () => gates.length === run);
      gates[run - 1]!();
    }
    await until(
      'all of it',
      async () => (await outcomes()).filter((text) => text.endsWith('done')).length === 6,
    );
    await resting(clock);
    expect(most).toBe(1);
    expect((await journalOf(database.pool)).map((row) => row.detail['due'])).toEqual(
      ['2026-01-06', '2026-01-09'].flatMap((day) => SETS.map(() => `${day}T04:00:00.000Z`)).toSorted(),
    );
  });

  it('that is refused is tried again a minute later, three times at most', async () => {
    const refused = (): number => optimize.calls.filter(({ set }) => set === 'snapshot_rows').length;
    const optimize = testVerb((set) =>
      set === 'snapshot_rows'
        ? Promise.reject(new WarehouseError('conflict', 'another maintainer is at work'))
        : Promise.resolve(),
    );
    const clock = createFakeClock('2026-01-07T12:00:00Z');
    const scheduler = start(clock, { optimize });
    for (let attempt = 1; attempt <= 3; attempt++) {
      await until(`attempt ${attempt}`, () => refused() === attempt);
      await resting(clock);
      clock.advance(POLL_MS);
      await resting(clock);
      expect(refused()).toBe(attempt);
      clock.advance(60_000);
    }
    await resting(clock);
    clock.advance(600_000);
    await resting(clock);
    expect(refused()).toBe(3);
    expect(await scheduler.stop()).toEqual({ runs: 5, failed: 3 });
  });
});

describe('the threshold', () => {
  it('is given to sets that have none, but not to those that are never to be consolidated', async () => {
    await database.pool.query(
      `update strata.partition_sets set consolidate_after = case set_name when 'snapshot_rows' then interval '9 months' end`,
    );
    const clock = createFakeClock('2026-01-07T03:00:00Z');
    const scheduler = start(
      clock,
      {},
      {
        schedule: { ...switchedOn('consolidate'), consolidateAfter_months: 4 },
        neverConsolidate: ['account_balances'],
      },
    );
    await scheduler.has('filled');
    const { rows } = await database.pool.query(
      'select set_name, extract(month from consolidate_after)::int as months from strata.partition_sets order by 1',
    );
    expect(rows).toEqual([
      { set_name: 'account_balances', months: null },
      { set_name: 'balance_changes', months: 4 },
      { set_name: 'snapshot_rows', months: 9 },
    ]);
  });
});
