/** Weeks of test rows, and what a set looks like from outside, for the tests of maintenance. */
import type { Client, Pool } from '../../src/db/query.ts';

/** First weeks of 2026, as keys; all of them ended long ago. */
export const KEYS = ['2026_01_04', '2026_01_11', '2026_01_18', '2026_01_25'] as const;

/** Makes the weeks and puts that many balances into each, spread over accounts, assets and time. */
export const fillWeeks = async (pool: Pool, keys: readonly string[], rows: number): Promise<void> => {
  for (const key of keys) {
    const start = `${key.replaceAll('_', '-')}T00:00:00Z`;
    await pool.query(`select strata.ensure_weeks('account_balances', $1, $1)`, [start]);
    await pool.query(
      `insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count, usd_value, data)
       select substr(sha256(convert_to((i % 97)::text, 'UTF8')), 1, 20), i % 5, $1::timestamptz + (i / 485) * interval '1 hour' + (i % 60) * interval '1 second',
              (i * 1000000007::numeric) / 1000, 1 + i % 3, case when i % 4 = 0 then i end, case when i % 9 = 0 then jsonb_build_object('i', i) end
         from generate_series(1, $2::int) i on conflict do nothing`,
      [start, rows],
    );
  }
  await pool.query('analyze strata.account_balances');
};

/** Count and hash of all rows of a table, in whatever order they lie. */
export const digest = async (database: Pool | Client, table: string): Promise<string> => {
  const { rows } = await database.query<{ digest: string }>(
    `select row_count || ' ' || hash as digest from strata.week_digest($1::regclass)`,
    [table],
  );
  return rows[0]!.digest;
};

/** Everything that the catalog and the journals know of partitions: what a dry run must leave alone. */
export const picture = async (pool: Pool): Promise<unknown> => {
  const { rows } = await pool.query(
    `select (select jsonb_agg(jsonb_build_array(c.oid, n.nspname, c.relname, c.relfilenode, c.relpartbound is not null, c.reloptions) order by c.oid)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname in ('strata', 'strata_held', 'public')) as tables,
            (select jsonb_agg(to_jsonb(i) order by i.inhrelid) from pg_inherits i) as tree,
            (select jsonb_agg(to_jsonb(c)) from strata.consolidations c) as journal,
            (select jsonb_agg(to_jsonb(r)) from strata.maintenance_runs r) as runs`,
  );
  return rows[0];
};

/** Kind and name of each partition of a set, in time order. */
export const shape = async (pool: Pool, set = 'account_balances'): Promise<string[]> => {
  const { rows } = await pool.query<{ line: string }>(
    `select kind || ' ' || leaves || ' ' || partition_name as line from strata.week_info($1)`,
    [set],
  );
  return rows.map((row) => row.line);
};

/** A row of what consolidation answers. */
export interface Answer {
  readonly week_key: string;
  readonly status: string;
  readonly row_count: number | null;
  readonly message: string;
}

/** Runs a consolidation and returns `key status` of each week, with the messages apart. */
export const consolidate = async (database: Pool | Client, call: string): Promise<Answer[]> =>
  (await database.query<Answer>(`select week_key, status, row_count, message from strata.${call}`)).rows;

/** `key status` of each answer. */
export const statuses = (answers: readonly Answer[]): string[] =>
  answers.map((answer) => `${answer.week_key} ${answer.status}`);
