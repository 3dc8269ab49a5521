/** `maintain` and `partitions` as processes: plans that change nothing, exit codes, errors that teach, one line of JSON. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { maintainLock } from '../../src/warehouse/partitions/plan.ts';
import { withAdvisoryLock } from '../../src/db/locks.ts';
import { weeksOf } from '../../src/cli/weeks-option.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { journalOf } from '../jobs/maintaining.ts';
import { jsonOf, openFolder } from './command.ts';
import type { Finished, Folder } from './command.ts';

const database = useDatabase();
let folder: Folder;
beforeAll(async () => {
  folder = await openFolder();
});
afterAll(() => folder.remove());

const run = (...args: string[]): Promise<Finished> => folder.run(args, { DATABASE_URL: database.url });
const weeks = async (set: string): Promise<number> =>
  Number((await database.pool.query('select from strata.set_partitions($1)', [set])).rowCount);

describe('maintain', () => {
  test('shows its plan without changing anything, as text, with SQL, and as JSON', async () => {
    const asked = ['maintain', 'ensure', '--set', 'balance_changes', '--week', '2026-01-07', '--dry-run'];
    const [text, sql, json] = await Promise.all([
      run(...asked),
      run(...asked, '--sql'),
      run(...asked, '--json'),
    ]);
    expect(text).toMatchObject({ code: 0, stderr: '' });
    expect(text.stdout).toContain('ensure balance_changes: 1 step\n   1. create balance_changes_2026_01_04');
    expect(text.stdout).toContain('lock: SHARE UPDATE EXCLUSIVE on strata.balance_changes for a moment');
    expect(text.stdout).not.toContain('ensure_weeks');
    expect(sql.stdout).toContain(
      "sql: select * from strata.ensure_weeks('balance_changes', '2026-01-04T00:00:00Z'",
    );
    expect(jsonOf(json)).toMatchObject({
      verb: 'ensure',
      plans: [
        {
          set: 'balance_changes',
          steps: [
            { week: '2026-01-04T00:00:00Z', locks: [{ mode: 'SHARE UPDATE EXCLUSIVE', held: 'moment' }] },
          ],
        },
      ],
    });
    expect(await weeks('balance_changes')).toBe(0);
    expect(await journalOf(database.pool)).toEqual([]);
  });

  test('does exactly that, and the second time nothing', async () => {
    const asked = [
      'maintain',
      'ensure',
      '--set',
      'balance_changes',
      'snapshot_rows',
      '--from',
      '2026-01-04',
      '--to',
      '2026-01-31',
    ];
    const first = await run(...asked, '--json');
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(jsonOf(first)).toMatchObject({
      verb: 'ensure',
      sets: ['balance_changes', 'snapshot_rows'].map((set) => ({
        set,
        outcome: 'done',
        result: {
          created: ['2026-01-04', '2026-01-11', '2026-01-18', '2026-01-25'].map((day) => `${day}T00:00:00Z`),
        },
      })),
    });
    expect(await weeks('balance_changes')).toBe(4);
    const second = await run(...asked);
    expect(second.code).toBe(0);
    expect(second.stdout).toMatch(/balance_changes +nothing +0/);
    expect((await journalOf(database.pool)).map((row) => [row.asked_by, row.detail['narrowed']])).toEqual(
      Array.from({ length: 4 }, () => ['command', true]),
    );
  });

  test('exits 1 when a set failed, and does the others', async () => {
    const holder = await database.pool.connect();
    const asked = ['maintain', 'ensure', '--week', '2026-06-01'];
    const [json, text] = await withAdvisoryLock(holder, maintainLock('balance_changes'), async () => [
      await run(...asked, '--json'),
      await run(...asked),
    ]);
    holder.release();
    expect(json).toMatchObject({ code: 1, stderr: '' });
    expect(jsonOf(json)).toMatchObject({
      sets: [
        { set: 'account_balances', outcome: 'done' },
        {
          set: 'balance_changes',
          outcome: 'refused',
          kind: 'conflict',
          error: expect.stringMatching(/pid \d+/) as string,
        },
        { set: 'snapshot_rows', outcome: 'done' },
      ],
    });
    expect(text.code).toBe(1);
    expect(text.stderr).toMatch(
      /balance_changes: error: balance_changes is being maintained already[^]*remedy: /,
    );
  });

  test.each([
    [
      ['maintain', 'consolodate'],
      /Did you mean consolidate\? The verbs are ensure, retain, drop, consolidate, optimize/,
    ],
    [['maintain', 'ensure', '--set', 'balance_change'], /Did you mean balance_changes\?/],
    [['maintain', 'optimize', '--week', '2026-01-04'], /optimize does not go by weeks/],
    [['maintain'], /missing required argument 'verb'/],
    [['partitions', 'inof'], /Did you mean info\?/],
    [['partitions', 'undo', 'balance_changes'], /undo needs a set and a day/],
  ])('%j is misuse and says what was meant', async (args, message) => {
    expect(await run(...args)).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(message) as string,
    });
  });
});

describe('the weeks of the options', () => {
  test('are those of any of their days, and all of a span', () => {
    expect(weeksOf({})).toEqual({});
    expect(weeksOf({ week: ['2026-01-07'], from: '2026-01-10', to: '2026-01-11' })).toEqual({
      weeks: ['2026-01-07', '2026-01-04', '2026-01-11'].map((day) => new Date(day)),
    });
  });

  test.each([
    [{ week: ['2026-02-30'] }, /--week "2026-02-30" is no day/],
    [{ week: ['monday'] }, /no day/],
    [{ from: '2026-01-04' }, /--from and --to go together/],
    [{ from: '2026-01-04', to: '2026-01-03' }, /--to is before --from/],
  ])('%j are refused', (options, message) => {
    expect(() => weeksOf(options)).toThrow(message);
  });
});

describe('partitions', () => {
  test('status is a line for each set', async () => {
    await database.pool.query(
      `insert into strata.held_partitions (set_name, lower_bound, upper_bound, reason, partition, partition_name, bytes, drop_after)
       values ('snapshot_rows', '2025-01-05', '2025-01-12', 'retained', 0, 'snapshot_rows_2025_01_05', 1500000, '2027-01-01')`,
    );
    const [json, text] = await Promise.all([run('partitions', '--json'), run('partitions', 'status')]);
    expect(jsonOf(json)).toMatchObject({
      sets: [
        { set: 'account_balances', weeks: 1, held: 0, runway_weeks: -1 },
        { set: 'balance_changes', weeks: 4, kinds: { hash: 4 }, leaves: 16, held: 0 },
        { set: 'snapshot_rows', weeks: 5, kinds: { hash: 5 }, leaves: 20, held: 1, held_bytes: 1_500_000 },
      ],
    });
    expect(text.stdout).toMatch(/^snapshot_rows +5 +5 hash +20 +-1 .* 1 \(1\.5 MB\)$/m);
  });

  test('info is a line for each week', async () => {
    await database.pool.query(
      `insert into strata.balance_changes select decode(md5(n::text), 'hex'), 1, '2026-01-05', n, 0, 1, 1 from generate_series(1, 100) n`,
    );
    // Whoever has an older snapshot keeps a page from being all-visible: autovacuum, for one.
    await until('every page to be all-visible', async () => {
      await database.pool.query('vacuum (analyze) strata.balance_changes');
      const { rows } = await database.pool.query<{ proven: boolean }>(
        `select pages > 0 and visible_pages = pages as proven from strata.week_info('balance_changes') limit 1`,
      );
      return rows[0]!.proven;
    });
    const [json, text] = await Promise.all([
      run('partitions', 'info', 'balance_changes', '--json'),
      run('partitions', 'info', 'balance_changes'),
    ]);
    const { sets } = jsonOf(json) as { sets: { weeks: Record<string, unknown>[] }[] };
    expect(sets[0]!.weeks).toHaveLength(4);
    expect(sets[0]!.weeks[0]).toMatchObject({
      name: 'balance_changes_2026_01_04',
      lower: '2026-01-04T00:00:00.000Z',
      kind: 'hash',
      leaves: 4,
      rows: 100,
      all_visible: 1,
    });
    expect(text.stdout).toMatch(/balance_changes_2026_01_04 +2026-01-04 +2026-01-11 +hash +4 +100 .*100 %/);
  });

  test('undo says when there is nothing to take back', async () => {
    expect(await run('partitions', 'undo', 'balance_changes', '2026-01-07', '--dry-run')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/nothing to take back for the week of 2026-01-07/) as string,
    });
  });
});

describe('help', () => {
  test('of each shows an example', async () => {
    for (const { code, stdout } of await Promise.all(
      ['maintain', 'partitions', 'schedule'].map((command) => run(command, '--help')),
    )) {
      expect(code).toBe(0);
      expect(stdout).toMatch(/Example:\n {2}pgstrata /);
      expect(stdout).toContain('--json');
    }
  });
});
