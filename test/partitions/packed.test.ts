/** The table that takes a week's place: the same columns in an order that never takes more room while values are short. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { useDatabase } from '../database.ts';
import { propertyOptions } from '../seed.ts';

const database = useDatabase();

/** Types of every alignment, each with an expression over a row number. */
const VALUES: Readonly<Record<string, string>> = {
  boolean: 'n % 2 = 0',
  smallint: 'n',
  integer: 'n * 70000',
  bigint: 'n * 5000000000',
  'timestamp with time zone': `timestamptz '2026-01-04Z' + n * interval '1 hour'`,
  date: `date '2026-01-04' + n`,
  'double precision': 'n / 7.0',
  uuid: 'md5(n::text)::uuid',
  'character(3)': 'n::text',
  'numeric(40,3)': 'n ^ 9::numeric',
  'text collate "C"': `repeat('x', n * 5)`, // values beyond 126 bytes are aligned, and may cost up to 3 bytes more or less
  bytea: 'sha256(n::text::bytea)',
  jsonb: `jsonb_build_object('n', n)`,
  'bigint[]': 'array[n, n]',
  interval: `n * interval '1 day'`,
};

const column = fc.record({
  type: fc.constantFrom(...Object.keys(VALUES)),
  nulls: fc.boolean(),
});

it('gives back every row and takes no more bytes for them', async () => {
  const { pool } = database;
  await fc.assert(
    fc.asyncProperty(fc.array(column, { minLength: 1, maxLength: 12 }), async (columns) => {
      const definitions = columns.map(({ type, nulls }, n) => `"c ${n}" ${type}${nulls ? '' : ' not null'}`);
      const values = columns.map(({ type, nulls }, n) =>
        nulls ? `case when (n + ${n}) % 3 > 0 then ${VALUES[type]} end` : VALUES[type],
      );
      const names = columns.map((_column, n) => `"c ${n}"`).join(', ');
      await pool.query(`
        create table public.declared (${[...definitions, 'check ("c 0" is null or true)'].join(', ')});
        insert into public.declared select ${values.join(', ')} from generate_series(1, 24) n;
        select strata.create_stage('public.declared', 'public.packed');
        insert into public.packed (${names}) select ${names} from public.declared`);
      const { rows } = await pool.query(
        `select (select sum(pg_column_size(p)) from public.packed p) <= (select sum(pg_column_size(d)) from public.declared d) as no_more,
                (select count(*)::int from (select ${names} from public.packed except all select ${names} from public.declared) x) as differences,
                (select count(*)::int from public.packed) as rows,
                (select array_agg(format('%s %s %s', attname, format_type(atttypid, atttypmod), attnotnull) order by attname) from pg_attribute where attrelid = 'public.packed'::regclass and attnum > 0)
              = (select array_agg(format('%s %s %s', attname, format_type(atttypid, atttypmod), attnotnull) order by attname) from pg_attribute where attrelid = 'public.declared'::regclass and attnum > 0) as same`,
      );
      await pool.query('drop table public.declared, public.packed');
      expect(rows).toEqual([{ no_more: true, differences: 0, rows: 24, same: true }]);
    }),
    propertyOptions(40),
  );
});

it('puts what is aligned before what is not: of a balance, eight bytes less', async () => {
  const { rows } = await database.pool.query(
    `select strata.packed_columns('strata.account_balances') as balances, strata.packed_columns('strata.balance_changes') as changes`,
  );
  expect(rows).toEqual([
    {
      balances: [
        'asset_id',
        '"timestamp"',
        'change_count',
        'account_address',
        'balance',
        'usd_value',
        'data',
      ],
      changes: ['asset_id', 'block_time', 'block_num', 'ordinal', 'source_id', 'account_address', 'delta'],
    },
  ]);
});
