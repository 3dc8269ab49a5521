/** The bulk fold of whole weeks: the same tables as the fold batch by batch, however the weeks are cut and whoever shares the work. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { foldWeek } from '../../src/warehouse/balances.ts';
import { EXCEPT_BOTH_WAYS, fillCentury, weekText, type CenturySize } from './century.ts';
import { useBalances } from './database.ts';
import { valueOf } from './harness.ts';

const database = useBalances();

const WEEKS = 6;
const SIZE: CenturySize = { changes: 4_000, accounts: 200, batches: 4, weeks: WEEKS };

const TABLES = `select jsonb_build_array(
  (select count(*) from strata.account_balances), (select sum(hashtextextended((b.account_address, b.asset_id, b."timestamp", b.balance, b.change_count)::text, 0)::numeric) from strata.account_balances b),
  (select count(*) from strata.account_balances_current), (select sum(hashtextextended(c::text, 0)::numeric) from strata.account_balances_current c))`;

let expected: readonly number[];
beforeAll(async () => {
  const pool = await filled();
  await pool.query(
    'select strata.fold_changes(source_id, start_block, end_block) from strata.stream_batches order by start_block desc',
  );
  expected = await valueOf<readonly number[]>(pool, TABLES);
});

const pools: Pool[] = [];
afterAll(() => Promise.all(pools.map((pool) => pool.end())));

/** A database of its own with changes in its weeks and nothing folded; `before` runs before the weeks are made. */
const filled = async (before = ''): Promise<Pool> => {
  const pool = createPool((await database.createDatabase()).url);
  pools.push(pool);
  if (before !== '') await pool.query(before);
  await fillCentury(pool, SIZE);
  return pool;
};

const foldAll = async (pool: Pool, fold: (week: number) => Promise<unknown>): Promise<void> => {
  for (let week = 0; week < WEEKS; week++) await fold(week);
};

const inParallel =
  (pool: Pool, workers: number) =>
  (week: number): Promise<number> =>
    foldWeek(pool, { week: new Date(weekText(week)), workers });

const modulus = (set: string, count: number): string =>
  `update strata.partition_sets set modulus = ${count} where set_name = '${set}'`;

describe('the bulk fold', () => {
  test('in one statement gives the tables of the fold batch by batch', async () => {
    const pool = await filled();
    await foldAll(pool, (week) => pool.query('select strata.fold_week($1)', [weekText(week)]));
    expect(expected[0]).toBeGreaterThan(3_000);
    expect(await valueOf(pool, TABLES)).toEqual(expected);
    expect((await valueOf<number[]>(pool, EXCEPT_BOTH_WAYS)).slice(0, 2)).toEqual([0, 0]);
  });

  test.each([
    ['shared by four connections', '', 4],
    ['of changes that are cut otherwise', modulus('balance_changes', 2), 4],
    ['into weeks that are cut finer than the state', modulus('account_balances', 8), 4],
    ['into weeks that are cut otherwise than both', modulus('account_balances', 3), 2],
  ])('%s gives them too', async (_what, before, workers) => {
    const pool = await filled(before);
    await foldAll(pool, inParallel(pool, workers));
    expect(await valueOf(pool, TABLES)).toEqual(expected);
  });

  test('leaves weeks as their set makes them: the same leaves, columns, indexes and constraints, and nothing beside', async () => {
    const shape = `select jsonb_agg(jsonb_build_array(c.relname, c.reloptions, pg_get_expr(c.relpartbound, c.oid),
        (select jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage, a.attcompression, pg_get_expr(d.adbin, d.adrelid)) order by a.attnum)
           from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum where a.attrelid = c.oid and a.attnum > 0),
        (select jsonb_agg(pg_get_constraintdef(k.oid) order by k.contype, pg_get_constraintdef(k.oid)) from pg_constraint k where k.conrelid = c.oid and k.contype <> 'n'),
        (select jsonb_agg(jsonb_build_array(ic.relname, am.amname, x.indisprimary, x.indisvalid, pc.relname like 'account_balances_20%') order by ic.relname)
           from pg_index x join pg_class ic on ic.oid = x.indexrelid join pg_am am on am.oid = ic.relam
           join pg_inherits xi on xi.inhrelid = ic.oid join pg_class pc on pc.oid = xi.inhparent where x.indrelid = c.oid)) order by c.relname)
      from pg_class c where c.relnamespace = 'strata'::regnamespace and c.relkind in ('r', 'p') and c.relname ~ '^(account_balances_20|fresh)'`;
    const pool =
      await filled(`alter table strata.account_balances add column note text not null default 'none' check (note <> ''),
      alter data set storage external, alter usd_value set compression pglz`);
    const before = await valueOf<readonly unknown[]>(pool, shape);
    await foldAll(pool, inParallel(pool, 3));
    expect(before).toHaveLength(WEEKS * 5);
    expect(await valueOf(pool, shape)).toEqual(before);
    expect(
      await valueOf(pool, `select count(*) filter (where note = 'none') from strata.account_balances`),
    ).toBe(expected[0]);
  });

  test('goes straight into partitions that hold observed balances, and leaves those as they were', async () => {
    const pool = await filled();
    await pool.query(`
      insert into strata.assets (asset_id, network, standard, asset_key, observed) values (99, 'tests', 'activity', 'held', true);
      insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
        select distinct account_address, 99, timestamptz '${weekText(2)}', 5, 0 from strata.balance_changes;
      insert into strata.account_balances_current select account_address, asset_id, balance, "timestamp" from strata.account_balances`);
    await foldAll(pool, inParallel(pool, 4));
    await pool.query(
      'delete from strata.account_balances where asset_id = 99; delete from strata.account_balances_current where asset_id = 99 and balance = 5',
    );
    expect(await valueOf(pool, TABLES)).toEqual(expected);
  });

  test('refuses a week that balances have reached', async () => {
    const pool = await filled();
    await inParallel(pool, 2)(1);
    await expect(inParallel(pool, 2)(0)).rejects.toThrow(/at or behind the week/);
    await expect(inParallel(pool, 2)(1)).rejects.toThrow(/at or behind the week/);
  });
});
