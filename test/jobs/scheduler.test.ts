/** The scheduler under a clock that the test moves: due times, catch-up, one leader, refusals, a lost connection, a stop. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Verbs } from '../../src/jobs/maintenance.ts';
import {
  startScheduler,
  type SchedulerEvent,
  type SchedulerOptions,
  type SchedulerResult,
} from '../../src/jobs/scheduler/scheduler.ts';
import { scheduleOf, type Schedule } from '../../src/jobs/scheduler/settings.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { createFakeClock, type FakeClock } from './fake-clock.ts';
import { journalOf, testVerb } from './maintaining.ts';

const database = useDatabase();
const SETS = ['account_balances', 'balance_changes', 'snapshot_rows'];
const POLL_MS = 10_000;

/** Optimize is due at 04:00 each day, and begins at once; the rest is switched off. */
const schedule = (): Schedule =>
  scheduleOf(
    parseConfig(
      `schedule:
  jitter_seconds: 0
  create: { enabled: false }
  retain: { enabled: false }
  consolidate: { enabled: false }`,
      {},
    ),
    {},
  );

const switchedOn = (verb: 'ensure' | 'consolidate'): Schedule => {
  const { verbs, ...rest } = schedule();
  return { ...rest, verbs: { ...verbs, [verb]: { ...verbs[verb], enabled: true } } };
};

interface Running {
  readonly events: SchedulerEvent[];
  readonly clock: FakeClock;
  readonly has: (kind: SchedulerEvent['kind']) => Promise<unknown>;
  readonly stop: () => Promise<SchedulerResult>;
}

const running = new Set<Running>();

const start = (clock: FakeClock, verbs: Verbs, options: Partial<SchedulerOptions> = {}): Running => {
  const events: SchedulerEvent[] = [];
  const controller = new AbortController();
  const { done } = startScheduler({
    pool: database.pool,
    schedule: schedule(),
    signal: controller.signal,
    onEvent: (event) => events.push(event),
    clock,
    random: () => 0,
    verbs,
    ...options,
  });
  const scheduler: Running = {
    events,
    clock,
    has: (kind) => until(`the event ${kind}`, () => events.some((event) => event.kind === kind)),
    stop: () => {
      running.delete(scheduler);
      controller.abort(new Error('stopped by the test'));
      return done;
    },
  };
  running.add(scheduler);
  return scheduler;
};

/** The leader has nothing more to do but to wait: for its poll, its heartbeat, and a due time of each verb. */
const resting = (clock: FakeClock, timers = 3): Promise<unknown> =>
  until('the leader to rest', () => clock.pending() === timers);

const outcomes = async (): Promise<string[]> =>
  (await journalOf(database.pool)).map((row) => `${row.verb} ${row.set_name} ${row.outcome}`);

const createdAt = (instant: string): Promise<unknown> =>
  database.pool.query('update strata.partition_sets set created_at = $1', [instant]);

beforeEach(async () => {
  await database.pool.query('truncate strata.maintenance_runs cascade');
  await createdAt('2026-01-01');
});
afterEach(async () => {
  for (const scheduler of running) await scheduler.stop();
});

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
    await createdAt('2026-01-07T11:00:00Z');
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

  it('hands the batch to the verb, and runs the verbs in the order of their needs', async () => {
    const order: string[] = [];
    const verb = (name: string): ReturnType<typeof testVerb> =>
      testVerb((set) => Promise.resolve(order.push(`${name} ${set}`)));
    const verbs = {
      optimize: verb('optimize'),
      consolidate: verb('consolidate'),
      retain: verb('retain'),
      ensure: verb('ensure'),
    };
    const clock = createFakeClock('2026-01-30T12:00:00Z');
    start(clock, verbs, { schedule: scheduleOf(parseConfig('', {}), {}) });
    await resting(clock, 6);
    expect([...new Set(order.map((text) => text.split(' ')[0]))]).toEqual([
      'ensure',
      'retain',
      'consolidate',
      'optimize',
    ]);
    expect(verbs.consolidate.calls[0]!.options).toEqual({ now: clock.now(), batch: 5 });
    expect(verbs.optimize.calls[0]!.options).toEqual({ now: clock.now() });
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

describe('several processes', () => {
  it('have one leader; another takes over at its next poll when that one stops', async () => {
    const verbs = { optimize: testVerb() };
    const clock = createFakeClock('2026-01-07T12:00:00Z');
    const first = start(clock, verbs);
    await until('three runs', () => verbs.optimize.calls.length === 3);
    const others = [start(clock, verbs), start(clock, verbs)];
    await Promise.all(others.map((other) => other.has('waiting')));
    await resting(clock, 5);
    clock.advance(POLL_MS);
    await resting(clock, 5);
    expect(others.flatMap(({ events }) => events)).toEqual([{ kind: 'waiting' }, { kind: 'waiting' }]);
    await first.stop();
    clock.advance(POLL_MS);
    await until('a new leader', () =>
      others.some(({ events }) => events.some(({ kind }) => kind === 'leading')),
    );
    await resting(clock, 4);
    const leaders = others.filter(({ events }) => events.some(({ kind }) => kind === 'leading'));
    expect(leaders).toHaveLength(1);
    // The journal says that the day is served, whoever served it.
    expect(verbs.optimize.calls.length).toBe(3);
  });
});

describe('a lost connection', () => {
  it('ends leadership and the job in hand at once, and the job is done in the next term', async () => {
    const pool = createPool(database.url, { applicationName: 'the leader' });
    let attempts = 0;
    const optimize = testVerb((_set, _pool, signal) =>
      ++attempts > 1
        ? Promise.resolve()
        : new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(new WarehouseError('cancelled', 'asked to stop')));
          }),
    );
    const clock = createFakeClock('2026-01-07T12:00:00Z');
    const scheduler = start(clock, { optimize }, { pool });
    await until('the job to run', () => attempts === 1);
    await database.pool.query(
      `select pg_terminate_backend(l.pid) from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1
          and (l.classid::bigint << 32 | l.objid::bigint) = strata.advisory_key('schedule')
          and l.database = (select oid from pg_database where datname = current_database())`,
    );
    await scheduler.has('lost');
    expect(await outcomes()).toEqual(['optimize account_balances stopped']);
    clock.advance(POLL_MS);
    await until('the second term', async () => (await outcomes()).includes('optimize account_balances done'));
    expect(scheduler.events.filter(({ kind }) => kind === 'leading')).toHaveLength(2);
    await scheduler.stop();
    await pool.end();
  });

  it('of a database that cannot be reached is tried again', async () => {
    const url = new URL(database.url);
    url.port = '1';
    const pool = createPool(url.toString());
    const clock = createFakeClock('2026-01-07T12:00:00Z');
    const scheduler = start(clock, { optimize: testVerb() }, { pool });
    for (let attempt = 1; attempt <= 3; attempt++) {
      await until(`attempt ${attempt}`, () => scheduler.events.length === attempt);
      await resting(clock, 1);
      clock.advance(POLL_MS);
    }
    expect(scheduler.events[0]).toMatchObject({ kind: 'lost', error: { kind: 'connection' } });
    await scheduler.stop();
    await pool.end();
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
