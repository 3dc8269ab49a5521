/** Maintenance by the registry: every set alone, every run in the journal, undo. */
import { beforeEach, describe, expect, it } from 'vitest';
import { borrowClient, createPool } from '../../src/db/pool.ts';
import { withAdvisoryLock } from '../../src/db/locks.ts';
import {
  planMaintenance,
  runMaintenance,
  type MaintenanceEvent,
  type SetRun,
} from '../../src/jobs/maintenance.ts';
import type { VerbModule } from '../../src/jobs/verbs.ts';
import { planUndo, undoWeek, type UndoScope } from '../../src/jobs/undo.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';
import { lastFailures } from '../../src/warehouse/partitions/runs.ts';
import { maintainLock, refuseStale } from '../../src/warehouse/partitions/plan.ts';
import { useDatabase } from '../database.ts';
import { journalOf, planOf, testVerb } from './maintaining.ts';

const database = useDatabase();
const NOW = new Date('2026-01-07T12:00:00Z');
const SETS = ['account_balances', 'balance_changes', 'snapshot_rows'];
const never = new AbortController().signal;

beforeEach(async () => {
  await database.pool.query('truncate strata.maintenance_runs cascade');
});

const failing = (set: string, error: Error): VerbModule =>
  testVerb((one) => (one === set ? Promise.reject(error) : Promise.resolve()));

describe('runMaintenance', () => {
  it('makes the weeks of every set and records plan, outcome and who asked', async () => {
    const runs = await runMaintenance({
      pool: database.pool,
      verb: 'ensure',
      now: NOW,
      signal: never,
      askedBy: 'command',
    });
    expect(runs.map(({ set, outcome }) => [set, outcome])).toEqual(SETS.map((set) => [set, 'done']));
    expect(runs[0]!.result).toMatchObject({
      created: ['2026-01-04', '2026-01-11', '2026-01-18', '2026-01-25', '2026-02-01'].map(
        (day) => `${day}T00:00:00Z`,
      ),
    });
    const journal = await journalOf(database.pool);
    expect(journal.map((row) => [row.set_name, row.outcome, row.asked_by, row.finished])).toEqual(
      SETS.map((set) => [set, 'done', 'command', true]),
    );
    expect(journal[0]!.plan).toEqual(runs[0]!.plan);
    expect(journal[0]!.detail).toMatchObject({ result: runs[0]!.result });
  });

  it('begins with forgetting runs older than keep_runs, but none that is the last of its kind', async () => {
    const { pool } = database;
    await pool.query(
      `update strata.partition_sets set keep_runs = '30 days' where set_name = 'balance_changes'`,
    );
    // Days before now, verb, outcome; "old" are those that may go.
    await pool.query(`
      insert into strata.maintenance_runs (set_name, verb, outcome, detail, host, started_at)
      select set_name, verb, outcome, detail::jsonb, host, now() - interval '1 day' * age
        from unnest(array['balance_changes', 'account_balances']) set_name
       cross join (values (90.1, 'ensure', 'done', '{}', 'old'), (31, 'ensure', 'done', '{}', 'newer'), (29, 'ensure', 'done', '{}', 'new'),
                          (400, 'ensure', 'done', '{"narrowed": true}', 'last narrowed'), (400, 'ensure', 'failed', '{}', 'last failed'),
                          (500, 'ensure', 'failed', '{}', 'old'), (300, 'retain', 'done', '{}', 'last'), (300, 'retain', 'running', '{}', 'running')) r (age, verb, outcome, detail, host)`);
    await runMaintenance({
      pool,
      verb: 'ensure',
      now: NOW,
      signal: never,
      sets: ['balance_changes', 'account_balances'],
    });
    const { rows } = await pool.query<{ kept: string[] }>(
      `select array_agg(host order by host) as kept from strata.maintenance_runs where started_at < now() - interval '1 day' group by set_name order by set_name`,
    );
    const kept = ['last', 'last failed', 'last narrowed', 'new', 'newer', 'running'];
    expect(rows.map((row) => row.kept)).toEqual([kept, kept.filter((host) => host !== 'newer')]);
  });

  it('says nothing where there is nothing to do', async () => {
    const again = await runMaintenance({ pool: database.pool, verb: 'ensure', now: NOW, signal: never });
    expect(again.map(({ outcome }) => outcome)).toEqual(['nothing', 'nothing', 'nothing']);
    expect((await journalOf(database.pool)).map((row) => row.outcome)).toEqual(again.map(() => 'nothing'));
  });

  it('goes on with the next set when one fails, and says so until it goes well', async () => {
    const broken = failing(
      'balance_changes',
      new WarehouseError('database', 'the disk is full', { sqlstate: '53100', remedy: 'Free some space.' }),
    );
    const events: MaintenanceEvent[] = [];
    const runs = await runMaintenance({
      pool: database.pool,
      verb: 'optimize',
      now: NOW,
      signal: never,
      verbs: { optimize: broken },
      onEvent: (event) => events.push(event),
    });
    expect(runs.map(({ outcome }) => outcome)).toEqual(['done', 'failed', 'done']);
    expect(events.filter(({ kind }) => kind === 'ended')).toHaveLength(3);
    expect((await journalOf(database.pool))[1]).toMatchObject({
      outcome: 'failed',
      error: 'the disk is full',
      detail: { kind: 'database', sqlstate: '53100', remedy: 'Free some space.' },
    });
    expect(await lastFailures(database.pool)).toMatchObject([
      {
        set: 'balance_changes',
        verb: 'optimize',
        outcome: 'failed',
        error: 'the disk is full',
        remedy: 'Free some space.',
      },
    ]);

    await runMaintenance({
      pool: database.pool,
      verb: 'optimize',
      sets: ['balance_changes'],
      now: NOW,
      signal: never,
      verbs: { optimize: testVerb() },
    });
    expect(await lastFailures(database.pool)).toEqual([]);
  });

  it('records a plan that could not be made', async () => {
    const noPlan = { ...testVerb(), plan: () => Promise.reject(new Error('no plan')) };
    const [run] = await runMaintenance({
      pool: database.pool,
      verb: 'retain',
      sets: ['snapshot_rows'],
      now: NOW,
      signal: never,
      verbs: { retain: noPlan },
    });
    expect(run).toMatchObject({ outcome: 'failed', plan: null });
    expect(await journalOf(database.pool)).toMatchObject([{ outcome: 'failed', error: 'no plan', plan: {} }]);
  });

  it('fails where the verb says that something in its result did', async () => {
    const halfway = { ...testVerb(), failure: (result: { steps: number }) => `${result.steps} week failed` };
    const [run] = await runMaintenance({
      pool: database.pool,
      verb: 'consolidate',
      sets: ['snapshot_rows'],
      now: NOW,
      signal: never,
      verbs: { consolidate: halfway },
    });
    expect(run).toMatchObject({
      outcome: 'failed',
      result: { steps: 1 },
      error: { message: '1 week failed' },
    });
    expect(await journalOf(database.pool)).toMatchObject([
      { outcome: 'failed', detail: { result: { steps: 1 } } },
    ]);
  });

  it('asks the verb for whole weeks, whatever their days', async () => {
    const verb = testVerb(undefined, 3);
    const runs = await runMaintenance({
      pool: database.pool,
      verb: 'consolidate',
      sets: ['snapshot_rows'],
      weeks: [new Date('2025-01-14T13:00:00Z'), new Date('2020-01-01')],
      now: NOW,
      signal: never,
      verbs: { consolidate: verb },
    });
    expect(verb.calls[0]!.options.weeks).toEqual([new Date('2025-01-12'), new Date('2019-12-29')]);
    expect(runs[0]!.plan?.steps.map(({ name }) => name)).toEqual(['step 2']);
    expect((await journalOf(database.pool))[0]!.detail).toMatchObject({ narrowed: true });
  });

  it('is refused, by name, while somebody else maintains the set', async () => {
    const other = createPool(database.url, { applicationName: 'the other one' });
    const { client, release } = await borrowClient(other);
    const runs = await withAdvisoryLock(client, maintainLock('balance_changes'), () =>
      runMaintenance({
        pool: database.pool,
        verb: 'ensure',
        now: NOW,
        weeks: [new Date('2027-01-01')],
        signal: never,
      }),
    );
    release();
    await other.end();
    expect(runs.map(({ outcome }) => outcome)).toEqual(['done', 'refused', 'done']);
    expect(runs[1]!.error?.message).toMatch(
      /balance_changes is being maintained already: .*the other one \(pid \d+\)/,
    );
    expect(await lastFailures(database.pool)).toMatchObject([{ outcome: 'refused' }]);
  });

  it('plans again when a loader made a week meanwhile, and gives up when the plan never holds', async () => {
    let week = 0;
    /** Its first plans are out of date as soon as they are made. */
    const overtaken = (plans: number): VerbModule => ({
      plan: async (pool, set) => {
        const plan = await planOf(pool, set, 1);
        const day = new Date(Date.UTC(2030, 0, 6 + 7 * week++)).toISOString();
        if (week <= plans) await pool.query('select strata.ensure_weeks($1, $2, $2)', [set, day]);
        return plan;
      },
      apply: async (pool, plan) => {
        await refuseStale(pool, plan);
        return {};
      },
    });
    const run = async (set: string, plans: number): Promise<SetRun> => {
      week = 0;
      const [only] = await runMaintenance({
        pool: database.pool,
        verb: 'optimize',
        sets: [set],
        now: NOW,
        signal: never,
        verbs: { optimize: overtaken(plans) },
      });
      return only!;
    };
    expect(await run('snapshot_rows', 2)).toMatchObject({ outcome: 'done' });
    const refused = await run('balance_changes', 3);
    expect(refused.outcome).toBe('refused');
    expect(refused.error?.detail.remedy).toMatch(/Plan again/);
  });

  it('refuses an unknown set and suggests the near one', async () => {
    const asked = { pool: database.pool, verb: 'ensure', now: NOW, signal: never } as const;
    await expect(runMaintenance({ ...asked, sets: ['balance_chagnes'] })).rejects.toMatchObject({
      kind: 'usage',
      detail: { remedy: expect.stringMatching(/Did you mean balance_changes\?/) as string },
    });
    await expect(planMaintenance({ ...asked, sets: ['nothing_like_it'] })).rejects.toMatchObject({
      detail: { remedy: expect.not.stringMatching(/Did you mean/) as string },
    });
    expect(await journalOf(database.pool)).toEqual([]);
  });
});

describe('undo', () => {
  const week = new Date('2026-01-07');
  const withUndo = (steps: number): VerbModule => ({
    ...testVerb(),
    undo: { plan: (pool, set) => planOf(pool, set, steps), apply: testVerb().apply },
  });
  const scope = (): UndoScope => ({ pool: database.pool, set: 'snapshot_rows', week, now: NOW });

  it('asks the verbs in turn, and is a run of its own', async () => {
    const verbs = { ensure: testVerb(), retain: withUndo(0), consolidate: withUndo(2) };
    expect(await planUndo({ ...scope(), verbs })).toMatchObject({
      of: 'consolidate',
      plan: { steps: [{}, {}] },
    });
    const run = await undoWeek({ ...scope(), verbs, signal: never, askedBy: 'command' });
    expect(run).toMatchObject({ outcome: 'done', result: { steps: 2 } });
    expect(await journalOf(database.pool)).toMatchObject([
      { set_name: 'snapshot_rows', verb: 'undo', outcome: 'done', asked_by: 'command' },
    ]);
  });

  it('says when there is nothing to take back', async () => {
    await expect(planUndo({ ...scope(), verbs: { retain: withUndo(0) } })).rejects.toMatchObject({
      kind: 'conflict',
      message: 'there is nothing to take back for the week of 2026-01-07 in snapshot_rows',
    });
  });
});
