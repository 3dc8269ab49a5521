/** Weeks are made once, at the right bounds in any time zone, without a strong lock or a scan. */
import fc from 'fast-check';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { openWeeks, runs } from '../../src/warehouse/partitions/ensure.ts';
import { weekOf, weekStart, instantOf, instantText } from '../../src/runtime/instant.ts';
import { useDatabase } from '../database.ts';
import { propertyOptions } from '../seed.ts';

const database = useDatabase();

const ensure = (from: string, to = from): Promise<pg.QueryResult<{ partition: string; created: boolean }>> =>
  database.pool.query('select partition::text, created from strata.ensure_weeks($1, $2, $3)', [
    'balance_changes',
    from,
    to,
  ]);

describe('the week of an instant', () => {
  it('starts on Sunday 00:00 UTC whatever the session time zone is', async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const zone = fc.constantFrom(
      'UTC',
      'America/New_York',
      'Asia/Kolkata',
      'Pacific/Apia',
      'Australia/Lord_Howe',
      'Pacific/Kiritimati',
      'Europe/Berlin',
    );
    const DAY_US = 86_400_000_000;
    const near = fc
      .tuple(
        fc.integer({ min: -53, max: 2140 }),
        fc.integer({ min: -2 * DAY_US, max: 2 * DAY_US }),
        fc.constantFrom(-1, 0, 1),
      )
      .map(([week, shift, edge]) => (edge === 0 ? weekStart(week) + shift : weekStart(week) + edge - 1));
    await fc.assert(
      fc.asyncProperty(zone, near, async (timezone, micros) => {
        await client.query("select set_config('timezone', $1, false)", [timezone]);
        const { rows } = await client.query<{ start: string; dow: number; name: string }>(
          `select extract(epoch from w)::bigint::text as start, extract(dow from w at time zone 'UTC')::int as dow, strata.week_name('t', $1) as name
             from strata.week_start($1::timestamptz) w`,
          [instantText(micros)],
        );
        const start = weekStart(weekOf(micros));
        expect(BigInt(rows[0]!.start) * 1_000_000n).toBe(BigInt(start) + 946_684_800_000_000n);
        expect(rows[0]!.dow).toBe(0);
        expect(rows[0]!.name).toBe(`t_${instantText(start).slice(0, 10).replaceAll('-', '_')}`);
      }),
      propertyOptions(300),
    );
    await client.end();
  });

  it('holds its first microsecond and not its last but one before', () => {
    const sunday = instantOf(new Date('2026-01-04T00:00:00Z'));
    expect([sunday - 1, sunday, sunday + 1].map(weekOf)).toEqual([
      weekOf(sunday) - 1,
      weekOf(sunday),
      weekOf(sunday),
    ]);
  });

  it('gives the same partitions in every session time zone', async () => {
    const bounds = [];
    for (const timezone of ['Pacific/Kiritimati', 'America/Los_Angeles', 'UTC']) {
      const { url } = await database.createDatabase();
      const client = new pg.Client({ connectionString: url, options: `-c timezone=${timezone}` });
      await client.connect();
      await client.query(
        `select strata.ensure_weeks('balance_changes', '2025-03-08 12:00+00', '2025-04-01 12:00+00')`,
      );
      await client.query("set timezone = 'UTC'");
      const { rows } = await client.query(
        'select partition::text, lower_bound, upper_bound from strata.set_partitions($1)',
        ['balance_changes'],
      );
      await client.end();
      bounds.push(rows);
    }
    expect(bounds[0]).toHaveLength(5);
    expect(bounds[1]).toEqual(bounds[0]);
    expect(bounds[2]).toEqual(bounds[0]);
  });
});

describe('ensure_weeks', () => {
  it('creates each week once, with its hash partitions, and says so', async () => {
    const first = await ensure('2026-01-01T00:00Z', '2026-01-12T00:00Z');
    expect(first.rows).toEqual([
      { partition: 'balance_changes_2025_12_28', created: true },
      { partition: 'balance_changes_2026_01_04', created: true },
      { partition: 'balance_changes_2026_01_11', created: true },
    ]);
    expect((await ensure('2026-01-07T00:00Z')).rows).toEqual([
      { partition: 'balance_changes_2026_01_04', created: false },
    ]);
    const { rows } = await database.pool.query(
      "select leaves from strata.set_partitions('balance_changes') where partition::text = 'balance_changes_2026_01_04'",
    );
    expect(rows).toEqual([{ leaves: 4 }]);
  });

  it('never gives the root more than SHARE UPDATE EXCLUSIVE, and scans nothing', async () => {
    const client = new pg.Client({ connectionString: database.url });
    const watcher = createPool(database.url);
    await client.connect();
    const notices: string[] = [];
    client.on('notice', (notice) => notices.push(notice.message ?? ''));
    await client.query('begin');
    await client.query("set local client_min_messages = 'debug1'");
    await client.query(`select strata.ensure_weeks('balance_changes', '2026-03-01', '2026-03-20')`);
    const { rows } = await watcher.query<{ mode: string }>(
      `select mode from pg_locks where relation = 'strata.balance_changes'::regclass and pid <> pg_backend_pid()`,
    );
    await client.query('commit');
    await client.end();
    await watcher.end();
    const modes = rows.map((row) => row.mode);
    expect(modes).toContain('ShareUpdateExclusiveLock');
    expect(modes.filter((mode) => /^(ShareRowExclusive|Exclusive|AccessExclusive)Lock$/.test(mode))).toEqual(
      [],
    );
    for (const week of ['2026_03_01', '2026_03_08', '2026_03_15']) {
      expect(notices).toContain(
        `partition constraint for table "balance_changes_${week}" is implied by existing constraints`,
      );
    }
    expect(notices.filter((notice) => notice.startsWith('verifying table'))).toEqual([]);
  });

  it('is called two hundred times at once and still makes each week once', async () => {
    const pool = createPool(database.url, { max: 40, connectLimitMs: 60_000 });
    const results = await Promise.all(
      Array.from({ length: 200 }, (_unused, index) =>
        pool.query<{ partition: string; created: boolean }>(
          'select partition::text, created from strata.ensure_weeks($1, $2, $3)',
          [
            'balance_changes',
            '2026-06-01T00:00Z',
            index % 2 === 0 ? '2026-06-20T00:00Z' : '2026-06-10T00:00Z',
          ],
        ),
      ),
    );
    await pool.end();
    const created = results.flatMap((result) =>
      result.rows.filter((row) => row.created).map((row) => row.partition),
    );
    expect(created.toSorted()).toEqual([
      'balance_changes_2026_05_31',
      'balance_changes_2026_06_07',
      'balance_changes_2026_06_14',
    ]);
  });

  it.each([
    ['an unknown set', `select strata.ensure_weeks('nothing', now(), now())`, /no partition set 'nothing'/],
    [
      'a reversed span',
      `select strata.ensure_weeks('balance_changes', '2026-02-01', '2026-01-01')`,
      /cannot create weeks/,
    ],
    [
      'an infinite end',
      `select strata.ensure_weeks('balance_changes', '2026-02-01', 'infinity')`,
      /cannot create weeks/,
    ],
    [
      'a thousand years',
      `select strata.ensure_weeks('balance_changes', '1026-02-01', '2026-02-01')`,
      /cannot create weeks/,
    ],
  ])('refuses %s', async (_what, statement, message) => {
    await expect(database.pool.query(statement)).rejects.toThrow(message);
  });
});

describe('a week keeper', () => {
  it('makes only the weeks that rows need', async () => {
    const keeper = await openWeeks(database.pool, 'account_balances', new Date('2026-07-01'));
    const week = weekOf(instantOf(new Date('2026-06-01')));
    await keeper.ensure([week + 5, week, week]);
    const { rows } = await database.pool.query(
      "select partition::text from strata.set_partitions('account_balances')",
    );
    expect(rows).toEqual([
      { partition: 'account_balances_2026_05_31' },
      { partition: 'account_balances_2026_07_05' },
    ]);
  });

  it('has a window that ends a little behind the present', async () => {
    const { window } = await openWeeks(database.pool, 'balance_changes', new Date('2026-07-01T00:00:00Z'));
    expect(instantText(window.earliest)).toBe('2009-01-01T00:00:00.000000Z');
    expect(instantText(window.latest)).toBe('2026-07-08T00:00:00.000000Z');
  });

  it('joins neighbouring weeks into one call', () => {
    expect(runs([5, 1, 2, 3, 9, 8, 1])).toEqual([
      [1, 3],
      [5, 5],
      [8, 9],
    ]);
  });
});

describe('create_partition_set', () => {
  it.runIf(database.topology === 'single')('gives a week the statistics targets of its root', async () => {
    await ensure('2026-02-02');
    const { rows } = await database.pool.query<{ table: string; target: number }>(
      `select a.attrelid::regclass::text as table, a.attstattarget as target from pg_attribute a
        where a.attrelid in (select t.relid from pg_partition_tree('strata.balance_changes_2026_02_01') t) and a.attname = 'account_address'`,
    );
    expect(rows).toHaveLength(5);
    for (const { target } of rows) expect(target).toBe(20);
  });

  it('takes a user table partitioned by time, under its own modulus', async () => {
    await database.pool.query(
      'create table public.visits (at timestamptz not null, who bytea not null) partition by range (at)',
    );
    await database.pool.query(
      `select strata.create_partition_set('visits', 'public.visits', 'at', 'who', 2)`,
    );
    await database.pool.query(`select strata.ensure_weeks('visits', '2026-01-05', '2026-01-05')`);
    const { rows } = await database.pool.query(
      "select partition::text, leaves from strata.set_partitions('visits')",
    );
    expect(rows).toEqual([{ partition: 'visits_2026_01_04', leaves: 2 }]);
  });

  it.each([
    [
      'a plain table',
      'create table public.plain (at timestamptz not null, who bytea)',
      'plain',
      /not partitioned by range/,
    ],
    [
      'a nullable time',
      'create table public.vague (at timestamptz, who bytea) partition by range (at)',
      'vague',
      /timestamptz not null/,
    ],
    [
      'a missing hash column',
      'create table public.short (at timestamptz not null) partition by range (at)',
      'short',
      /does not exist/,
    ],
  ])('refuses %s', async (_what, ddl, table, message) => {
    await database.pool.query(ddl);
    await expect(
      database.pool.query(`select strata.create_partition_set($1, $2::regclass, 'at', 'who')`, [
        table,
        `public.${table}`,
      ]),
    ).rejects.toThrow(message);
  });
});
