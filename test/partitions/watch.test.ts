/** Each thing that can be amiss with a set is told once, with a remedy; a set in order is not mentioned. */
import { describe, expect, it } from 'vitest';
import {
  FAILED_RUN,
  judgeLocks,
  judgeSet,
  type LockRoom,
  type WatchedSet,
  type WatchedWeek,
} from '../../src/warehouse/partitions/alerts.ts';
import { watchSets } from '../../src/warehouse/partitions/watch.ts';
import { checkDatabase } from '../../src/warehouse/checkup.ts';
import { readStatus } from '../../src/warehouse/status.ts';
import { useDatabase } from '../database.ts';

const database = useDatabase();
const NOW = new Date('2026-03-11T12:00:00Z');
const DAY_MS = 86_400_000;

/** Weeks from 1 March 2026: 1 is the present one. */
const week = (number: number, rest: Partial<WatchedWeek> = {}): WatchedWeek => ({
  name: `logs_${number}`,
  lower: new Date(Date.UTC(2026, 2, 1) + 7 * number * DAY_MS),
  upper: new Date(Date.UTC(2026, 2, 8) + 7 * number * DAY_MS),
  kind: 'hash',
  leaves: 4,
  total_bytes: 4_000,
  largest_leaf: 1_000,
  used: true,
  detach_pending: false,
  ...rest,
});

const set = (rest: Partial<WatchedSet> = {}): WatchedSet => ({
  set: 'logs',
  root: 'public.logs',
  premake: 2,
  size_alert: 1_000_000_000,
  consolidate_before: new Date('2026-01-01'),
  by_column: false,
  weeks: [week(0), week(1), week(2), week(3)],
  overdue: [],
  detaching: [],
  unfinished: [],
  failures: [],
  ...rest,
});

/** The same weeks on a cluster. */
const inShards = [week(0), week(1), week(2), week(3)].map((one) => ({
  ...one,
  kind: 'sharded' as const,
  leaves: 0,
}));

const checksOf = (rest: Partial<WatchedSet>): string[] =>
  judgeSet(set(rest), NOW).map(({ check, state }) => `${state} ${check}`);

describe('of a set', () => {
  it('in order there is nothing to say, nor of one without weeks', () => {
    expect(judgeSet(set(), NOW)).toEqual([]);
    expect(judgeSet(set({ weeks: [] }), NOW)).toEqual([]);
  });

  it.each<[string, Partial<WatchedSet>, string[]]>([
    [
      'a DEFAULT partition',
      { weeks: [...set().weeks, week(9, { kind: 'default', lower: null, upper: null })] },
      ['fault default partition'],
    ],
    [
      'a foreign partition',
      { weeks: [week(-1, { kind: 'foreign', leaves: 0 }), ...set().weeks] },
      ['warning foreign partitions'],
    ],
    [
      'a pending detach',
      { weeks: [week(-1, { detach_pending: true }), ...set().weeks] },
      ['fault pending detach'],
    ],
    ['gaps', { weeks: [week(-3), ...set().weeks] }, ['warning gaps']],
    [
      'weeks that no row has come to',
      { weeks: [week(-5), week(-3), ...set().weeks.map((each) => ({ ...each, used: false }))] },
      ['warning gaps'],
    ],
    [
      'a history that ends long ago',
      { weeks: [week(-3), ...set().weeks.map((each) => ({ ...each, used: false }))] },
      [],
    ],
    ['too few weeks ahead', { premake: 3 }, ['warning runway']],
    ['no present week', { weeks: [week(-1), week(0)] }, ['warning runway']],
    [
      'a week that ends behind a gap',
      { weeks: [week(0), week(1), week(3), week(4)] },
      ['warning gaps', 'warning runway'],
    ],
    ['size', { size_alert: 3_999 }, ['warning size']],
    ['size at the edge', { size_alert: 4_000 }, []],
    [
      'skew',
      { weeks: [week(0, { total_bytes: 100_000_000, largest_leaf: 50_000_001 }), ...set().weeks.slice(1)] },
      ['warning skew'],
    ],
    ['skew of next to nothing', { weeks: [week(0, { largest_leaf: 4_000 }), ...set().weeks.slice(1)] }, []],
    ['unconsolidated weeks', { consolidate_before: week(0).upper }, ['warning unconsolidated weeks']],
    [
      'weeks to be stored by column',
      { consolidate_before: week(0).upper, by_column: true, weeks: inShards },
      ['warning unconsolidated weeks'],
    ],
    ['weeks that cannot be', { consolidate_before: week(0).upper, weeks: inShards }, []],
    [
      'a shard that is too large',
      { weeks: inShards.map((one) => ({ ...one, largest_leaf: 2_000_000_000 })) },
      ['warning size'],
    ],
    [
      'a large week of small shards',
      { weeks: inShards.map((one) => ({ ...one, total_bytes: 2_000_000_000 })) },
      [],
    ],
    ['weeks that are never consolidated', { consolidate_before: null }, []],
    [
      'consolidated weeks',
      {
        consolidate_before: NOW,
        weeks: set().weeks.map((each) => ({ ...each, kind: 'consolidated', leaves: 0 })),
      },
      [],
    ],
    [
      'unfinished work',
      { unfinished: ['logs_1 is at step copying'], detaching: ['logs_0'], overdue: ['logs_x'] },
      ['warning unfinished consolidations', 'warning unfinished retention', 'warning held tables'],
    ],
    ['a failed run', { failures: [{ verb: 'retain', error: 'boom', at: NOW }] }, [`fault ${FAILED_RUN}`]],
  ])('%s is told', (_what, rest, checks) => {
    expect(checksOf(rest)).toEqual(checks);
    for (const alert of judgeSet(set(rest), NOW))
      expect(alert).toMatchObject({ set: 'logs', remedy: expect.stringMatching(/./) as string });
  });
});

describe('of locks', () => {
  const room = (rest: Partial<LockRoom> = {}): LockRoom => ({
    max_locks_per_transaction: 512,
    capacity: 51_200,
    max_connections: 100,
    custom_plans: true,
    largest: { set: 'logs', leaves: 400 },
    ...rest,
  });

  it('says when an unpruned query of the largest set fills the table, and how large it should be', () => {
    expect(judgeLocks(room())).toEqual([]);
    expect(judgeLocks(room({ largest: null }))).toEqual([]);
    const [tight] = judgeLocks(room({ max_locks_per_transaction: 64, capacity: 6_400 }));
    expect(tight).toMatchObject({
      check: 'locks',
      says: expect.stringMatching(/about 1300 locks; 4 at once/) as string,
    });
    expect(tight?.remedy).toMatch(/max_locks_per_transaction to 208 or more/);
    expect(judgeLocks(room({ max_locks_per_transaction: 208, capacity: 20_800 }))).toEqual([]);
  });

  it('warns of generic plans where nothing prevents them', () => {
    expect(judgeLocks(room({ custom_plans: false })).map(({ check }) => check)).toEqual([
      'prepared statements',
    ]);
    expect(judgeLocks(room({ custom_plans: false, largest: { set: 'logs', leaves: 100 } }))).toEqual([]);
  });
});

describe('the watch', () => {
  it('sees in a database what is there, and doctor and status tell it', async () => {
    const { pool } = database;
    expect(await watchSets(pool, NOW)).toEqual([]);
    await pool.query(`select strata.ensure_weeks('balance_changes', '2025-09-01', '2025-09-01')`);
    await pool.query(`select strata.ensure_weeks('balance_changes', '2026-03-01', '2026-03-11')`);
    await pool.query(`insert into strata.balance_changes values ('\\x01', 1, '2026-03-10', 1, 1, 1, 1)`);
    await pool.query(`create table strata.stray partition of strata.balance_changes default`);
    await pool.query(`update strata.partition_sets set size_alert = 1 where set_name = 'balance_changes'`);
    await pool.query(
      `insert into strata.maintenance_runs (set_name, verb, outcome, error, started_at) values
         ('balance_changes', 'ensure', 'failed', 'mended since', '2026-03-01'), ('balance_changes', 'ensure', 'done', null, '2026-03-02'),
         ('balance_changes', 'retain', 'done', null, '2026-03-01'), ('balance_changes', 'retain', 'failed', 'no space', '2026-03-02'),
         ('balance_changes', 'retain', 'running', null, '2026-03-03')`,
    );
    const alerts = await watchSets(pool, NOW);
    expect(alerts.map(({ set: name, check }) => [name, check])).toEqual(
      ['default partition', 'gaps', 'runway', 'size', 'unconsolidated weeks', FAILED_RUN].map((check) => [
        'balance_changes',
        check,
      ]),
    );
    expect(alerts.at(-1)?.says).toMatch(/the last retain failed .*no space/);
    expect((await readStatus(pool)).alerts.map(({ check }) => check)).toContain(FAILED_RUN);
    expect((await checkDatabase(pool)).map(({ check }) => check)).toContain(`balance_changes: ${FAILED_RUN}`);
  });

  it('tells of a consolidation that was left lying, not of one that is under way', async () => {
    const { pool } = database;
    await pool.query(`select strata.ensure_weeks('account_balances', '2025-09-01', '2025-09-01')`);
    const checks = async (): Promise<string[]> =>
      (await watchSets(pool, NOW))
        .filter(({ set: name }) => name === 'account_balances')
        .map(({ check }) => check);
    await pool.query(
      `insert into strata.consolidations (set_name, lower_bound, upper_bound, step, week, week_name, stage_name, heap_order)
       values ('account_balances', '2025-08-31', '2025-09-07', 'copying', 0, 'w', 's', 'key')`,
    );
    const lying = ['runway', 'unconsolidated weeks', 'unfinished consolidations'];
    expect(await checks()).toEqual(lying);
    const worker = await pool.connect();
    await worker.query(
      `insert into strata.maintenance_runs (set_name, verb) values ('account_balances', 'consolidate')`,
    );
    expect(await checks()).toEqual(['runway']);
    await pool.query(`update strata.maintenance_runs set backend_pid = 0 where outcome = 'running'`);
    expect(await checks()).toEqual(lying);
    worker.release();
  });
});
