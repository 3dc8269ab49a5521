/** The scheduler as processes: node-cron's own ticks, a leader killed without mercy, a stop in the middle of a step. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lastFailures } from '../../src/warehouse/partitions/runs.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { journalOf } from '../jobs/maintaining.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Folder, RunningCommand } from './command.ts';

const database = useDatabase();
let folder: Folder;

const POLL_SECONDS = 1;

/** One poll interval, and what it takes to look and to say so on a busy machine. */
const TAKE_OVER_LIMIT_MS = POLL_SECONDS * 1000 + 1000;

beforeAll(async () => {
  folder = await openFolder();
  await folder.writePolicy({
    schedule: {
      poll_seconds: POLL_SECONDS,
      jitter_seconds: 0,
      create: { cron: '* * * * * *' },
      retain: { enabled: false },
      consolidate: { enabled: false },
      optimize: { enabled: false },
    },
  });
});
afterAll(() => folder.remove());

const start = (): RunningCommand =>
  folder.start(['schedule', '--json'], { DATABASE_URL: database.url, PGSTRATA_LOG: 'info' });

const says = (process: RunningCommand, text: string): boolean =>
  process.lines.some((line) => line.startsWith(text));

/** Due times that a run of the set is recorded for. */
const served = async (): Promise<string[]> =>
  (await journalOf(database.pool))
    .filter((row) => row.set_name === 'snapshot_rows')
    .map((row) => String(row.detail['due']));

describe('three schedulers', () => {
  test('have one leader; when it is killed another takes over within its poll interval, and no due time is served twice', async () => {
    const processes = [start(), start(), start()];
    try {
      await until('one to lead and two to wait', () =>
        processes.every((process) => says(process, 'leading') || says(process, 'waiting')),
      );
      const leader = processes.find((process) => says(process, 'leading'))!;
      const others = processes.filter((process) => process !== leader);
      expect(others.filter((process) => says(process, 'leading'))).toEqual([]);
      await until('two due times', async () => new Set(await served()).size >= 2);

      const killed = performance.now();
      leader.child.kill('SIGKILL');
      await until('another to lead', () => others.some((process) => says(process, 'leading')));
      expect(performance.now() - killed).toBeLessThan(TAKE_OVER_LIMIT_MS);
      const before = (await served()).length;
      await until('it to work', async () => (await served()).length >= before + 2);

      for (const { child } of others) child.kill('SIGTERM');
      for (const process of others) {
        const finished = await process.finished;
        expect(finished, finished.stderr).toMatchObject({ code: 0 });
        expect(jsonOf(finished)).toMatchObject({ failed: 0 });
      }
      const ended = (await journalOf(database.pool)).filter(
        (row) => row.set_name === 'snapshot_rows' && ['done', 'nothing'].includes(row.outcome),
      );
      const dues = ended.map((row) => row.detail['due']);
      expect(dues).toEqual([...new Set(dues)]);
      expect(
        (await journalOf(database.pool)).filter(
          (row) => row.outcome === 'failed' && row.detail['vanished'] !== true,
        ),
      ).toEqual([]);
    } finally {
      for (const { child } of processes) child.kill('SIGKILL');
    }
  });

  test('say of a run that failed that it did: as an error line, and until one ends well', async () => {
    await database.pool.query(`
      create table public.astray (at timestamptz not null, who bytea not null) partition by range (at);
      create table public.astray_rest partition of public.astray default;
      insert into public.astray values ('2026-01-05', '\\x01');
      select strata.create_partition_set('astray', 'public.astray', 'at', 'who')`);
    const process = start();
    const line = await until('the error line', () =>
      process.lines.find((text) => text.startsWith('{"level":50')),
    );
    process.child.kill('SIGTERM');
    expect(await process.finished).toMatchObject({ code: 0 });
    expect(JSON.parse(line)).toMatchObject({
      verb: 'ensure',
      set: 'astray',
      outcome: 'refused',
      error: expect.stringContaining('DEFAULT partition') as string,
    });
    expect(await lastFailures(database.pool)).toMatchObject([{ set: 'astray', verb: 'ensure' }]);
    await database.pool.query('drop table public.astray_rest');
    expect(
      (await folder.run(['maintain', 'ensure', '--set', 'astray'], { DATABASE_URL: database.url })).code,
    ).toBe(0);
    expect(await lastFailures(database.pool)).toEqual([]);
  });

  test('stop within ten seconds in the middle of a step, which is taken back whole', async () => {
    await database.pool.query('truncate strata.maintenance_runs cascade');
    await database.pool.query(
      `update strata.partition_sets set premake = 6 where set_name = 'balance_changes'`,
    );
    const holder = await database.pool.connect();
    const weeks = async (): Promise<number> =>
      Number((await database.pool.query(`select from strata.set_partitions('balance_changes')`)).rowCount);
    const before = await weeks();
    await holder.query('begin; lock table strata.balance_changes in share update exclusive mode');
    const process = start();
    try {
      await until('the attach to wait', async () => {
        const { rowCount } = await database.pool.query(
          `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ilike '%ensure_weeks%'`,
        );
        return rowCount === 1;
      });
      const asked = performance.now();
      process.child.kill('SIGTERM');
      expect(await process.finished).toMatchObject({ code: 0, signal: null });
      expect(performance.now() - asked).toBeLessThan(10_000);
    } finally {
      process.child.kill('SIGKILL');
      await holder.query('rollback');
      holder.release();
    }
    expect((await journalOf(database.pool)).at(-1)).toMatchObject({
      set_name: 'balance_changes',
      outcome: 'stopped',
      finished: true,
    });
    expect(await weeks()).toBe(before);
  });
});

describe('the timetable', () => {
  test('is printed by --dry-run, which starts nothing', async () => {
    const environment = { DATABASE_URL: database.url, CONSOLIDATION_ENABLED: 'true' };
    const before = (await journalOf(database.pool)).length;
    const [json, text] = await Promise.all([
      folder.run(['schedule', '--dry-run', '--json'], environment),
      folder.run(['schedule', '--dry-run'], environment),
    ]);
    expect(jsonOf(json)).toMatchObject({
      verbs: [
        { verb: 'ensure', enabled: true, cron: '* * * * * *' },
        { verb: 'retain', enabled: false },
        { verb: 'drop', enabled: true },
        {
          verb: 'consolidate',
          enabled: true,
          cron: '0 2 * * 0',
          batch: 5,
          next_due: expect.stringMatching(/T02:00:00/) as string,
        },
        { verb: 'optimize', enabled: false },
      ],
    });
    expect(text.stdout).toMatch(/consolidate {2}yes +0 2 \* \* 0 +\d{4}-\d\d-\d\d 02:00/);
    expect((await journalOf(database.pool)).length).toBe(before);
  });

  test('with a fault is misuse', async () => {
    const finished = await folder.run(['schedule'], {
      DATABASE_URL: database.url,
      CONSOLIDATION_SCHEDULE: '0 99 * * *',
    });
    expect(finished).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('CONSOLIDATION_SCHEDULE') as string,
    });
  });
});
