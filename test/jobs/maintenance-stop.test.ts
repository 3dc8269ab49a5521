/** Runs that are asked to stop, and runs whose process has gone: orderly ends, and none that is left open. */
import { beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { runMaintenance } from '../../src/jobs/maintenance.ts';
import type { VerbModule } from '../../src/jobs/verbs.ts';
import { lastFailures } from '../../src/warehouse/partitions/runs.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { journalOf, testVerb } from './maintaining.ts';

const database = useDatabase();
const NOW = new Date('2026-01-07T12:00:00Z');
const never = new AbortController().signal;
const QUICK = { cancelAfter_ms: 20, giveUpAfter_ms: 10_000 };

beforeEach(async () => {
  await database.pool.query('truncate strata.maintenance_runs cascade');
});

describe('a stop', () => {
  it('ends the run between two steps, and leaves the other sets alone', async () => {
    const stop = new AbortController();
    const stopping = testVerb(() => Promise.resolve(stop.abort(new Error('stopped by SIGTERM'))), 3);
    const runs = await runMaintenance({
      pool: database.pool,
      verb: 'optimize',
      now: NOW,
      signal: stop.signal,
      verbs: { optimize: stopping },
    });
    expect(runs.map(({ outcome, run_id }) => [outcome, run_id !== null])).toEqual([
      ['stopped', true],
      ['stopped', false],
      ['stopped', false],
    ]);
    expect(await journalOf(database.pool)).toMatchObject([
      {
        set_name: 'account_balances',
        outcome: 'stopped',
        error: 'stopped before the step "step 2"',
        finished: true,
      },
    ]);
    expect(await lastFailures(database.pool)).toEqual([]);
  });

  it('is a stop too where the verb returns early', async () => {
    const stop = new AbortController();
    const early: VerbModule = {
      ...testVerb(),
      apply: () => {
        stop.abort();
        return Promise.resolve({ weeks: 1 });
      },
    };
    const [run] = await runMaintenance({
      pool: database.pool,
      verb: 'consolidate',
      sets: ['snapshot_rows'],
      now: NOW,
      signal: stop.signal,
      verbs: { consolidate: early },
    });
    expect(run).toMatchObject({ outcome: 'stopped', result: { weeks: 1 }, error: null });
  });

  it('cancels the statement of a step that does not listen', async () => {
    const stop = new AbortController();
    const deaf = testVerb((_set, pool) => pool.query("select 'deaf', pg_sleep(300)"));
    const running = runMaintenance({
      pool: database.pool,
      verb: 'optimize',
      sets: ['snapshot_rows'],
      now: NOW,
      signal: stop.signal,
      verbs: { optimize: deaf },
      stopLimits: QUICK,
    });
    await until('the step to run', async () => {
      const { rowCount } = await database.pool.query(
        `select from pg_stat_activity where query like 'select ''deaf''%' and state = 'active' and datname = current_database()`,
      );
      return rowCount === 1;
    });
    const began = performance.now();
    stop.abort();
    expect(await running).toMatchObject([{ outcome: 'stopped' }]);
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(await journalOf(database.pool)).toMatchObject([
      { outcome: 'stopped', detail: { sqlstate: '57014' } },
    ]);
    const { rowCount } = await database.pool.query(
      `select from pg_stat_activity where query like 'select ''deaf''%' and state = 'active' and datname = current_database()`,
    );
    expect(rowCount).toBe(0);
  });

  it('leaves behind what does not even then end, and records that', async () => {
    const stop = new AbortController();
    const entered = Promise.withResolvers<void>();
    const stuck = testVerb(() => {
      entered.resolve();
      return new Promise(() => undefined);
    });
    const running = runMaintenance({
      pool: database.pool,
      verb: 'optimize',
      sets: ['snapshot_rows'],
      now: NOW,
      signal: stop.signal,
      verbs: { optimize: stuck },
      stopLimits: { cancelAfter_ms: 1, giveUpAfter_ms: 20 },
    });
    await entered.promise;
    stop.abort();
    expect(await running).toMatchObject([{ outcome: 'stopped' }]);
    expect(await journalOf(database.pool)).toMatchObject([
      { error: 'it did not stop in time and was left behind' },
    ]);
  });
});

describe('a run whose process has gone', () => {
  it('is closed by the next one, and only then', async () => {
    const gone = createPool(database.url, { max: 1 });
    await gone.query(
      `insert into strata.maintenance_runs (set_name, verb) values ('snapshot_rows', 'optimize')`,
    );
    const asked = {
      pool: database.pool,
      verb: 'optimize',
      sets: ['balance_changes'],
      now: NOW,
      signal: never,
      verbs: { optimize: testVerb() },
    } as const;
    await runMaintenance(asked);
    expect((await journalOf(database.pool))[0]).toMatchObject({ outcome: 'running', finished: false });
    await gone.end();
    await until('its session to be gone', async () => {
      await runMaintenance(asked);
      return (await journalOf(database.pool))[0]!.outcome !== 'running';
    });
    expect((await journalOf(database.pool))[0]).toMatchObject({
      outcome: 'failed',
      detail: { vanished: true },
      finished: true,
    });
  });
});
