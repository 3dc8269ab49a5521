/** The saving that is predicted from sampled pages, against the saving that consolidation then measures. */
import { describe, expect, it } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import { useDatabase } from '../database.ts';

const database = useDatabase();
const ROWS = 12_000;

/** How far a prediction may be from the truth; 10 percentage points are promised, and half of that is kept. */
const NEAR = 0.05;

const account = (i: string): string => `substr(sha256(convert_to((${i})::text, 'UTF8')), 1, 20)`;

/** The two tables that consolidation is for, and a user's own with the five indexes of older designs. */
const SHAPES = {
  balance_changes: {
    set: 'balance_changes',
    table: 'strata.balance_changes',
    key: 'account_address, asset_id, block_time, block_num, ordinal, source_id',
    value: 'delta',
    columns: 'account_address, asset_id, block_time, block_num, ordinal, source_id, delta',
    row: (i: string, week: string): string =>
      `${account(`${i} % 3001`)}, (${i} % 40), ${week} + (${i} % 54000) * interval '11 seconds', 1000000 + ${i} / 9, ${i} % 9, 1, (${i} * 123456789012345678::numeric)`,
  },
  account_balances: {
    set: 'account_balances',
    table: 'strata.account_balances',
    key: 'account_address, asset_id, "timestamp"',
    value: 'balance',
    columns: 'account_address, asset_id, "timestamp", balance, change_count, usd_value, data',
    row: (i: string, week: string): string =>
      `${account(`${i} % 2003`)}, (${i} % 40), ${week} + (${i} % 168) * interval '1 hour', (${i} * 123456789012345678::numeric), 1, case when ${i} % 3 = 0 then ${i} / 7.0 end,
       case when ${i} % 5 = 0 then jsonb_build_object('rate', ${i}, 'note', repeat('x', ${i} % 90)) end`,
  },
  points: {
    set: 'points',
    table: 'public.points',
    key: 'account, activity, at',
    value: 'amount',
    columns: 'account, activity, at, amount',
    row: (i: string, week: string): string =>
      `'rdx1' || md5((${i} % 1999)::text), 'activity ' || ${i} % 12, ${week} + (${i} % 168) * interval '1 hour', ${i} / 100.0`,
  },
} as const;

type Shape = (typeof SHAPES)[keyof typeof SHAPES];

/** Ways in which a week came to be what it is. */
const WAYS: Readonly<Record<string, (shape: Shape, week: string) => string[]>> = {
  'sorted batches': (shape, week) =>
    [0, 1, 2, 3, 4, 5].map((batch) => sorted(shape, week, `where i % 6 = ${batch}`)),
  'upserts of every row, twice': (shape, week) => [
    insert(shape, week, ''),
    ...[1, 2].map(
      (add) =>
        `${insert(shape, week, `where i % 2 = ${add - 1}`)} on conflict (${shape.key}) do update set ${shape.value} = ${shape.table}.${shape.value} + ${add}`,
    ),
  ],
  'rows in random order': (shape, week) => [insert(shape, week, `order by sha256(i::text::bytea)`)],
  'every other row deleted': (shape, week) => [
    insert(shape, week, ''),
    `delete from ${shape.table} where ${within(shape, week)} and hashtext(${shape.value}::text) % 2 = 0`,
  ],
  'half of it dead, and vacuumed': (shape, week) => [
    insert(shape, week, `order by sha256(i::text::bytea)`),
    `update ${shape.table} set ${shape.value} = ${shape.value} + 1 where ${within(shape, week)} and hashtext(${shape.value}::text) % 3 = 0`,
    `vacuum ${shape.table}`,
  ],
};

const timeColumn = ({ set }: Shape): string =>
  ({ balance_changes: 'block_time', account_balances: '"timestamp"', points: 'at' })[set];

const within = (shape: Shape, week: string): string =>
  `${timeColumn(shape)} >= ${week} and ${timeColumn(shape)} < ${week} + interval '7 days'`;

const insert = (shape: Shape, week: string, tail: string): string =>
  `insert into ${shape.table} (${shape.columns}) select ${shape.row('i', week)} from generate_series(1, ${ROWS}) i ${tail}`;

const sorted = (shape: Shape, week: string, where: string, rows = ROWS): string =>
  `insert into ${shape.table} (${shape.columns})
   select * from (select ${shape.row('i', week)} from generate_series(1, ${rows}) i ${where}) r(${shape.columns}) order by ${shape.key}`;

const prepare = async (pool: Pool): Promise<void> => {
  await pool.query(`
    create table if not exists public.points (account text not null, activity text not null, at timestamptz not null, amount numeric not null,
                                              primary key (account, activity, at)) partition by range (at);
    create index if not exists points_at on public.points (at);
    create index if not exists points_activity on public.points (activity);
    create index if not exists points_account on public.points (account);
    create index if not exists points_account_at on public.points (account, at);
    create index if not exists points_big on public.points (amount) where amount > 200;
    select strata.create_partition_set('points', 'public.points', 'at', 'account')`);
};

interface Outcome {
  readonly predicted: string;
  readonly actual: string;
  readonly rows: number;
  readonly counted: number;
}

describe.each(Object.keys(SHAPES) as (keyof typeof SHAPES)[])('a week of %s', (name) => {
  const shape = SHAPES[name];

  it.each(Object.keys(WAYS).map((way, index) => [way, index] as const))('of %s', async (way, index) => {
    const { pool } = database;
    await prepare(pool);
    const week = `'${new Date(Date.UTC(2025, 0, 5 + 7 * index)).toISOString()}'::timestamptz`;
    await pool.query(`select strata.ensure_weeks('${shape.set}', ${week}, ${week})`);
    for (const statement of WAYS[way]!(shape, week)) await pool.query(statement);
    const estimate = await pool.query<{ rows: number }>(
      `select e.row_count::int as rows from strata.set_partitions('${shape.set}') p
        cross join lateral strata.estimate_week_saving('${shape.set}', p.partition) e where p.lower_bound = ${week}`,
    );
    await pool.query(`select strata.consolidate_week('${shape.set}', strata.week_key(${week}))`);
    const { rows } = await pool.query<Outcome>(
      `select predicted_saving as predicted, actual_saving as actual, row_count::int as rows from strata.consolidations
        where set_name = '${shape.set}' and lower_bound = ${week} and step = 'swapped'`,
    );
    const { predicted, actual, rows: counted } = rows[0]!;
    console.info(`${name}, ${way}: predicted ${predicted}, was ${actual}`);
    expect(Math.abs(Number(predicted) - Number(actual))).toBeLessThan(NEAR);
    expect(estimate.rows[0]!.rows / counted).toBeGreaterThan(0.9);
    expect(estimate.rows[0]!.rows / counted).toBeLessThan(1.1);
  });
});

it('is as near from a sample of a bigger week', async () => {
  const { pool } = database;
  const shape = SHAPES.balance_changes;
  await pool.query(`select strata.ensure_weeks('balance_changes', '2025-08-03', '2025-08-03')`);
  for (const batch of [0, 1, 2, 3])
    await pool.query(sorted(shape, `'2025-08-03Z'::timestamptz`, `where i % 4 = ${batch}`, 80_000));
  await pool.query(
    `delete from strata.balance_changes where block_time >= '2025-08-06Z' and block_time < '2025-08-09Z' and ordinal < 4`,
  );
  const { rows: sampled } = await pool.query<{ pages: number; sampled: number }>(
    `select (select sum(pg_relation_size(t.relid)) / 8192 from pg_partition_tree('strata.balance_changes_2025_08_03') t where t.isleaf)::int as pages,
            (length(s) - length(replace(s, 'ctid >=', '')))::int / 7 * 4 as sampled from strata.sample_statement('strata.balance_changes_2025_08_03') s`,
  );
  expect(sampled[0]!.sampled).toBeGreaterThan(0);
  expect(sampled[0]!.sampled).toBeLessThan(sampled[0]!.pages / 2);
  await pool.query(`select strata.consolidate_week('balance_changes', '2025_08_03')`);
  const { rows } = await pool.query<Outcome>(
    `select predicted_saving as predicted, actual_saving as actual from strata.consolidations where week_name = 'balance_changes_2025_08_03'`,
  );
  console.info(`sampled: predicted ${rows[0]!.predicted}, was ${rows[0]!.actual}`);
  expect(Math.abs(Number(rows[0]!.predicted) - Number(rows[0]!.actual))).toBeLessThan(NEAR);
});

it('is as near for a week that is merged under its writers, which share the estimator', async () => {
  const { pool } = database;
  const lower = new Date('2025-09-07T00:00:00Z');
  await pool.query(`select strata.ensure_weeks('account_balances', $1, $1)`, [lower]);
  for (const statement of WAYS['half of it dead, and vacuumed']!(
    SHAPES.account_balances,
    `'2025-09-07Z'::timestamptz`,
  ))
    await pool.query(statement);
  const plan = await planConsolidate(pool, 'account_balances', {
    now: new Date('2026-01-01T00:00:00Z'),
    weeks: [lower],
  });
  const { weeks } = await applyConsolidate(pool, plan);
  expect(weeks.map(({ outcome }) => outcome)).toEqual(['consolidated']);
  const { rows } = await pool.query<Outcome>(
    `select predicted_saving as predicted, actual_saving as actual from strata.consolidations where week_name = 'account_balances_2025_09_07'`,
  );
  expect(Math.abs(Number(rows[0]!.predicted) - Number(rows[0]!.actual))).toBeLessThan(NEAR);
});

it('counts an index that only the week has as dropped', async () => {
  const { pool } = database;
  await pool.query(`select strata.ensure_weeks('account_balances', '2025-06-01', '2025-06-01')`);
  const shape = SHAPES.account_balances;
  await pool.query(insert(shape, `'2025-06-01Z'::timestamptz`, ''));
  const saving = async (): Promise<number> => {
    const { rows } = await pool.query<{ saving: string }>(
      `select predicted_saving as saving from strata.estimate_week_saving('account_balances', 'strata.account_balances_2025_06_01')`,
    );
    return Number(rows[0]!.saving);
  };
  const without = await saving();
  await pool.query('create index on strata.account_balances_2025_06_01 (asset_id, account_address)');
  const withIndex = await saving();
  expect(withIndex).toBeGreaterThan(without + 0.05);
  await pool.query(`select strata.consolidate_week('account_balances', '2025_06_01')`);
  const { rows } = await pool.query<{ actual: string }>(
    `select actual_saving as actual from strata.consolidations where week_name = 'account_balances_2025_06_01'`,
  );
  expect(Math.abs(Number(rows[0]!.actual) - withIndex)).toBeLessThan(NEAR);
});
