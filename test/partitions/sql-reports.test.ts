/** What the SQL reports say of weeks, sizes, skew, plans and gaps, and who may ask. */
import pg from 'pg';
import { beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { useDatabase } from '../database.ts';
import { consolidate, fillWeeks, KEYS } from './weeks.ts';

const database = useDatabase();
let url = '';
let pool: Pool;

beforeEach(async () => {
  ({ url } = await database.createDatabase());
  pool = createPool(url);
  return () => pool.end();
});

interface Missing {
  readonly week_key: string;
  readonly status: string;
  readonly advice: string;
}

const missing = async (): Promise<Missing[]> =>
  (await pool.query<Missing>('select week_key, status, advice from strata.find_missing_partitions()')).rows;

describe('reports', () => {
  it('name every table of a set, with its week, kind and size', async () => {
    await fillWeeks(pool, KEYS.slice(0, 2), 400);
    await consolidate(pool, `consolidate_week_hash_partitions('2026_01_04')`);
    const { rows } = await pool.query(
      'select tablename, week_key, partition_type, row_count > 0 as counted, size, size_bytes > index_bytes as sized from strata.get_account_balance_partition_info()',
    );
    expect(rows).toHaveLength(5);
    expect(rows[0]).toMatchObject({
      tablename: 'account_balances_2026_01_04_consolidated',
      week_key: '2026_01_04',
      partition_type: 'CONSOLIDATED',
      counted: true,
      sized: true,
      size: expect.stringMatching(/^\d+ kB$/),
    });
    expect(rows[4]).toMatchObject({
      tablename: 'account_balances_2026_01_11_hash_3',
      partition_type: 'HASH_PARTITIONED',
    });
    const report = await pool.query<{ metric: string; value: string }>(
      'select * from strata.weekly_consolidation_report()',
    );
    expect(Object.fromEntries(report.rows.map(({ metric, value }) => [metric, value]))).toMatchObject({
      hash_partitioned_weeks: '1',
      consolidated_weeks: '1',
      total_hash_partitions: '4',
      total_consolidated_partitions: '1',
      weeks_due: '1',
      held_weeks: '1',
      failures_last_7_days: '0',
    });
  });

  it('have the names of the guides, found without a schema where it is in the search_path', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 100);
    for (const call of [
      'get_account_balance_partition_info()',
      'get_partition_consolidation_status()',
      'consolidate_old_hash_partitions(3, true)',
      'estimate_consolidation_savings(3)',
      'weekly_consolidation_report()',
    ])
      expect((await pool.query(`select * from ${call}`)).rows.length, call).toBeGreaterThan(0);
  });

  it('show which partitions a query reads, whatever the time zone', async () => {
    await fillWeeks(pool, KEYS, 100);
    for (const timezone of ['UTC', 'Asia/Tokyo']) {
      const client = new pg.Client({ connectionString: url, options: `-c timezone=${timezone}` });
      await client.connect();
      const read = async (args: string): Promise<string> => {
        const { rows } = await client.query<{ query_plan: string }>(
          `select query_plan from strata.explain_account_balance_query(${args})`,
        );
        return rows.at(-1)!.query_plan;
      };
      expect(await read(`'2026-01-11Z', '2026-01-18Z', '0x01'`)).toBe('Partitions read: 1 of 16');
      expect(await read(`'2026-01-11Z', '2026-01-18Z'`)).toBe('Partitions read: 4 of 16');
      expect(await read(`'2026-01-04Z', '2026-02-01Z', 'it''s'`)).toBe('Partitions read: 4 of 16');
      await client.end();
    }
  });

  it('call a skewed hash partition skewed', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 100);
    await pool.query(
      `insert into strata.account_balances select '\\x01', i, '2026-01-05Z', 1, 1 from generate_series(1, 20000) i`,
    );
    await pool.query('analyze strata.account_balances');
    const { rows } = await pool.query(
      'select tablename, skewed, row_share::float > 0.9 as most from strata.check_partition_distribution() where skewed or row_share > 0.9',
    );
    expect(rows).toEqual([{ tablename: 'account_balances_2026_01_04_hash_3', skewed: true, most: true }]);
  });

  it('may be read by a reader, who may not consolidate', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 100);
    const admin = new pg.Client({ connectionString: url.replace(/\/\/[^@]*@/, adminLogin()) });
    await admin.connect();
    await admin.query('set role strata_reader');
    for (const call of [
      'get_account_balance_partition_info()',
      'find_missing_partitions()',
      'check_partition_distribution()',
      'get_partition_consolidation_status()',
      'weekly_consolidation_report()',
      `explain_account_balance_query('2026-01-04', '2026-01-11', '0x01')`,
    ]) {
      expect((await admin.query(`select * from strata.${call}`)).rows.length, call).toBeGreaterThan(0);
    }
    await expect(
      admin.query('select * from strata.consolidate_old_hash_partitions(3, false)'),
    ).rejects.toThrow(/permission denied/);
    await admin.end();
  });
});

const adminLogin = (): string => {
  const { username, password } = new URL(database.adminUrl);
  return password === '' ? `//${username}@` : `//${username}:${password}@`;
};

describe('missing weeks', () => {
  it('are the gaps, and what should be there ahead; the statement given creates them', async () => {
    await pool.query(`select strata.ensure_account_balance_partitions('2026-01-04', '2026-01-11')`);
    await pool.query(`select strata.ensure_account_balance_partitions('2026-01-25', '2026-02-01')`);
    const gaps = await missing();
    expect(gaps.slice(0, 3).map(({ week_key, status }) => `${week_key} ${status}`)).toEqual([
      '2026_01_11 MISSING',
      '2026_01_18 MISSING',
      '2026_02_01 MISSING',
    ]);
    for (const { advice } of gaps.slice(0, 2)) await pool.query(advice);
    expect((await missing())[0]?.week_key).toBe('2026_02_01');
  });

  it('with only the last week there, are those ahead', async () => {
    await pool.query(
      `select strata.ensure_account_balance_partitions(now() - interval '7 days', now() - interval '7 days')`,
    );
    const { rows } = await pool.query<{ key: string }>(
      `select strata.week_key(now() + n * interval '7 days') as key from generate_series(0, 4) n`,
    );
    expect((await missing()).map(({ week_key }) => week_key)).toEqual(
      rows.map(({ key }) => key).slice(0, (await missing()).length),
    );
    expect((await missing()).length).toBeGreaterThanOrEqual(4);
  });

  it('end before the end that is asked for', async () => {
    const { rows } = await pool.query(
      `select partition::text from strata.ensure_account_balance_partitions('2026-01-04', '2026-01-18')`,
    );
    expect(rows.map((row) => (row as { partition: string }).partition)).toEqual([
      'account_balances_2026_01_04',
      'account_balances_2026_01_11',
    ]);
  });
});
