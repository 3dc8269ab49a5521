/** The SQL functions as a person at psql calls them: reports, dry run, consolidation, what fails and what is refused. */
import pg from 'pg';
import { beforeEach, describe, expect, it } from 'vitest';
import { withClient, withTransaction } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { createPool } from '../../src/db/pool.ts';
import { useDatabase } from '../database.ts';
import { consolidate, digest, fillWeeks, KEYS, picture, shape, statuses } from './weeks.ts';

const database = useDatabase();
const cleanups: (() => Promise<unknown>)[] = [];
let url = '';
let pool: Pool;

/** A database of its own for each test of the describe block that calls it. */
const freshDatabases = (): void => {
  beforeEach(async () => {
    ({ url } = await database.createDatabase());
    pool = createPool(url);
    cleanups.push(() => pool.end());
    return async () => {
      for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
    };
  });
};

const connect = async (options = ''): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url, options });
  await client.connect();
  cleanups.push(() => client.end());
  return client;
};

const HELD = `select partition_name, state, reason, row_count::int, (partition::regclass)::text as name from strata.held_partitions order by held_id`;

describe('consolidate_old_hash_partitions', () => {
  freshDatabases();

  it('by default only says what it would do', async () => {
    await fillWeeks(pool, KEYS.slice(0, 2), 2000);
    const before = await picture(pool);
    const answers = await consolidate(pool, 'consolidate_old_hash_partitions()');
    expect(statuses(answers)).toEqual(['2026_01_04 DRY RUN', '2026_01_11 DRY RUN']);
    expect(answers[0]?.message).toMatch(/^would merge 4 partitions with about 2000 rows, .* into about /);
    expect(await picture(pool)).toEqual(before);
  });

  it('merges every old week, keeps every row, holds the old weeks, and proves it', async () => {
    await fillWeeks(pool, KEYS, 2000);
    const before = await digest(pool, 'strata.account_balances');
    const weekBefore = await digest(pool, 'strata.account_balances_2026_01_11');
    const answers = await consolidate(pool, 'consolidate_old_hash_partitions(3, false)');
    expect(statuses(answers)).toEqual(KEYS.map((key) => `${key} CONSOLIDATED`));
    expect(await shape(pool)).toEqual(
      KEYS.map((key) => `consolidated 0 account_balances_${key}_consolidated`),
    );
    expect(await digest(pool, 'strata.account_balances')).toBe(before);
    expect(await digest(pool, 'strata_held.account_balances_2026_01_11')).toBe(weekBefore);
    const held = await pool.query<{ name: string; row_count: number }>(HELD);
    expect(held.rows).toEqual(
      KEYS.map((key) => ({
        partition_name: `account_balances_${key}`,
        state: 'held',
        reason: 'consolidated',
        row_count: 2000,
        name: `strata_held.account_balances_${key}`,
      })),
    );
    const journal = await pool.query<{ proof: Record<string, unknown>; step: string }>(
      `select step, way, proof, row_count::int, predicted_saving is not null as predicted, actual_saving is not null as measured from strata.consolidations`,
    );
    expect(journal.rows).toHaveLength(4);
    for (const { proof, ...rest } of journal.rows) {
      expect(rest).toEqual({
        step: 'swapped',
        way: 'transaction',
        row_count: 2000,
        predicted: true,
        measured: true,
      });
      expect(proof).toMatchObject({ rows: 2000, rows_before: 2000 });
      expect(proof['hash']).toBe(proof['hash_before']);
      expect(proof['hash']).toMatch(/^-?\d{8,}$/);
    }
    const runs = await pool.query(
      'select verb, asked_by, outcome from strata.maintenance_runs order by run_id',
    );
    expect(runs.rows).toEqual([{ verb: 'consolidate', asked_by: 'sql', outcome: 'done' }]);
    expect(await consolidate(pool, 'consolidate_old_hash_partitions(3, false)')).toEqual([]);
  });

  it('takes late rows afterwards, and finds them by account', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 500);
    await consolidate(pool, 'consolidate_old_hash_partitions(3, false)');
    await pool.query(
      `insert into strata.account_balances values ('\\x01', 7, '2026-01-05Z', 5, 1) on conflict (account_address, asset_id, "timestamp") do update set balance = 6`,
    );
    await expect(
      pool.query(`insert into strata.account_balances values ('\\x01', 7, '2026-01-05Z', 5, 1)`),
    ).rejects.toThrow(/duplicate key/);
    const { rows } = await pool.query(
      `select tableoid::regclass::text as leaf from strata.account_balances where account_address = '\\x01'`,
    );
    expect(rows).toEqual([{ leaf: 'account_balances_2026_01_04_consolidated' }]);
  });

  it('attaches without a scan', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 500);
    const client = await connect();
    const notices: string[] = [];
    client.on('notice', (notice) => notices.push(notice.message ?? ''));
    await client.query("set client_min_messages = 'debug1'");
    await client.query('select * from strata.consolidate_old_hash_partitions(3, false)');
    expect(notices).toContain(
      'partition constraint for table "account_balances_2026_01_04_consolidated" is implied by existing constraints',
    );
    expect(notices.filter((notice) => notice.startsWith('verifying table'))).toEqual([]);
  });

  it.each([
    // By time in slices of ten hours, and by key within each.
    [
      'time',
      'select corr(position, rank) as order from (select row_number() over (order by ctid) as position, row_number() over (order by date_bin(interval \'10 hours\', "timestamp", \'2026-01-04Z\'), account_address, asset_id, "timestamp") as rank from %) r',
    ],
    [
      'key',
      'select corr(position, rank) as order from (select row_number() over (order by ctid) as position, row_number() over (order by account_address, asset_id, "timestamp") as rank from %) r',
    ],
  ])('lays the rows in %s order where the policy says so', async (order, question) => {
    await fillWeeks(pool, KEYS.slice(0, 1), 3000);
    await pool.query(
      `update strata.account_balances set "timestamp" = "timestamp" + interval '1 day' * change_count`,
    );
    await pool.query('update strata.partition_sets set heap_order = $1', [order]);
    await consolidate(pool, 'consolidate_old_hash_partitions(3, false)');
    const { rows } = await pool.query<{ order: number }>(
      question.replace('%', 'strata.account_balances_2026_01_04_consolidated'),
    );
    expect(rows[0]?.order).toBeGreaterThan(0.999);
  });

  it('reports a week that fails, and goes on with the others', async () => {
    await fillWeeks(pool, KEYS, 500);
    const before = await digest(pool, 'strata.account_balances');
    await pool.query('create table strata.account_balances_2026_01_11_consolidated (a int)');
    const reader = await connect();
    await reader.query('begin');
    await reader.query('select count(*) from strata.account_balances_2026_01_18_hash_2');
    const answers = await consolidate(pool, 'consolidate_old_hash_partitions(3, false)');
    expect(statuses(answers)).toEqual([
      '2026_01_04 CONSOLIDATED',
      '2026_01_11 FAILED',
      '2026_01_18 FAILED',
      '2026_01_25 CONSOLIDATED',
    ]);
    expect(answers[1]?.message).toMatch(
      /there is a strata\.account_balances_2026_01_11_consolidated already/,
    );
    expect(answers[2]?.message).toMatch(/lock timeout: a long transaction reads or writes this week/);
    expect(await shape(pool)).toEqual([
      'consolidated 0 account_balances_2026_01_04_consolidated',
      'hash 4 account_balances_2026_01_11',
      'hash 4 account_balances_2026_01_18',
      'consolidated 0 account_balances_2026_01_25_consolidated',
    ]);
    expect(await digest(pool, 'strata.account_balances')).toBe(before);
    const journal = await pool.query(
      "select week_name, error is not null as said from strata.consolidations where step = 'failed' order by week_name",
    );
    expect(journal.rows).toEqual([
      { week_name: 'account_balances_2026_01_11', said: true },
      { week_name: 'account_balances_2026_01_18', said: true },
    ]);
    const run = await pool.query('select outcome, error from strata.maintenance_runs');
    expect(run.rows).toEqual([{ outcome: 'failed', error: '2 of 4 weeks failed' }]);
    await reader.query('rollback');
    expect(statuses(await consolidate(pool, 'consolidate_old_hash_partitions(3, false)'))).toEqual([
      '2026_01_11 FAILED',
      '2026_01_18 CONSOLIDATED',
    ]);
  });

  it('leaves everything as it was when its transaction is rolled back', async () => {
    await fillWeeks(pool, KEYS.slice(0, 2), 500);
    const before = await picture(pool);
    const client = await connect();
    await client.query('begin');
    await client.query('select * from strata.consolidate_old_hash_partitions(3, false)');
    await client.query('rollback');
    expect(await picture(pool)).toEqual(before);
  });

  it('refuses a snapshot that would miss rows', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 10);
    await expect(
      withTransaction(pool, (client) => consolidate(client, 'consolidate_old_hash_partitions(3, false)'), {
        isolation: 'repeatable read',
      }),
    ).rejects.toThrow(/needs isolation level read committed/);
  });

  it('says who maintains the set already', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 10);
    await withClient(pool, async (client) => {
      await client.query(`select pg_advisory_lock(strata.advisory_key('maintain account_balances'))`);
      await expect(consolidate(pool, 'consolidate_old_hash_partitions(3, false)')).rejects.toThrow(
        /account_balances is being maintained by pgstrata \(pid \d+\)/,
      );
      await client.query('select pg_advisory_unlock_all()');
    });
  });

  it('never takes the week that is not over, with 0 months either', async () => {
    await pool.query(`select strata.ensure_weeks('account_balances', now(), now())`);
    expect(await consolidate(pool, 'consolidate_old_hash_partitions(0, false)')).toEqual([]);
  });
});

describe('consolidate_week_hash_partitions', () => {
  freshDatabases();

  it.each(['America/New_York', 'Pacific/Kiritimati'])(
    'takes a week by its key and dates in %s',
    async (timezone) => {
      await fillWeeks(pool, KEYS.slice(0, 2), 300);
      const client = await connect(`-c timezone=${timezone}`);
      const answers = await consolidate(
        client,
        `consolidate_week_hash_partitions('2026_01_11', '2026-01-11', '2026-01-18')`,
      );
      expect(statuses(answers)).toEqual(['2026_01_11 CONSOLIDATED']);
      expect(await shape(pool)).toEqual([
        'hash 4 account_balances_2026_01_04',
        'consolidated 0 account_balances_2026_01_11_consolidated',
      ]);
    },
  );

  it('refuses dates that are not the week’s, a week that is not there, and says why it fails', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 300);
    const call = (args: string): Promise<unknown> =>
      consolidate(pool, `consolidate_week_hash_partitions(${args})`);
    await expect(call(`'2026_01_04', '2026-01-05', '2026-01-12'`)).rejects.toThrow(
      /week 2026_01_04 is 2026-01-04/,
    );
    await expect(call(`'2026_01_11', '2026-01-11', '2026-01-18'`)).rejects.toThrow(
      /has no week '2026_01_11'/,
    );
    await call(`'2026_01_04'`);
    expect(await consolidate(pool, `consolidate_week_hash_partitions('2026_01_04')`)).toMatchObject([
      { status: 'FAILED', message: 'it is consolidated already. There is nothing to do.' },
    ]);
  });
});

describe('consolidate_old_weeks_singly', () => {
  freshDatabases();

  it('commits week by week', async () => {
    await fillWeeks(pool, KEYS.slice(0, 3), 300);
    await pool.query('create table strata.account_balances_2026_01_11_consolidated (a int)');
    const client = await connect();
    const notices: string[] = [];
    client.on('notice', (notice) => notices.push(notice.message ?? ''));
    await client.query(`call strata.consolidate_old_weeks_singly('account_balances')`);
    expect(notices.map((notice) => notice.slice(0, 24))).toEqual([
      '2026_01_04 CONSOLIDATED:',
      '2026_01_11 FAILED: there',
      '2026_01_18 CONSOLIDATED:',
    ]);
    const { rows } = await pool.query(
      'select count(distinct xmin::text)::int as transactions from strata.held_partitions',
    );
    expect(rows).toEqual([{ transactions: 2 }]);
  });
});

it.each(['-1', 'null', '1201'])('refuses %s months', async (months) => {
  await expect(
    consolidate(database.pool, `consolidate_old_hash_partitions(${months}, false)`),
  ).rejects.toThrow(/months must be 0 to 1200/);
});
