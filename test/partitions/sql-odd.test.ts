/** Odd partitions and odd tables: clear advice, never damage. */
import pg from 'pg';
import { beforeEach, describe, expect, it } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { useDatabase } from '../database.ts';
import { consolidate, digest, fillWeeks, KEYS, picture, shape, statuses } from './weeks.ts';

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

const advices = async (): Promise<Record<string, string | null>> => {
  const { rows } = await pool.query<{ week_key: string; advice: string | null }>(
    'select week_key, advice from strata.get_partition_consolidation_status()',
  );
  return Object.fromEntries(rows.map(({ week_key, advice }) => [week_key, advice]));
};

describe('odd partitions', () => {
  it('a DEFAULT partition is a clear refusal for every week, and nothing happens', async () => {
    await fillWeeks(pool, KEYS.slice(0, 2), 200);
    await pool.query('create table strata.stray partition of strata.account_balances default');
    const before = await picture(pool);
    const told = /the set has a DEFAULT partition, stray, .*\. Move its rows into weeks and drop it/;
    expect(statuses(await consolidate(pool, 'consolidate_old_hash_partitions()'))).toEqual([
      '2026_01_04 REFUSED',
      '2026_01_11 REFUSED',
      'stray SKIPPED',
    ]);
    expect(await picture(pool)).toEqual(before);
    const answers = await consolidate(pool, 'consolidate_old_hash_partitions(3, false)');
    expect(statuses(answers)).toEqual(['stray SKIPPED', '2026_01_04 FAILED', '2026_01_11 FAILED']);
    expect(answers[1]?.message).toMatch(told);
    expect((await advices())['2026_01_04']).toMatch(told);
    expect((await missing())[0]?.advice).toMatch(/DEFAULT partition stray must be moved out first/);
  });

  it('a partition that is no week, and one across two weeks, are left alone and told', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 200);
    await pool.query(
      `create table strata.month partition of strata.account_balances for values from ('2026-01-14Z') to ('2026-02-14Z')`,
    );
    await pool.query(`insert into strata.account_balances values ('\\x01', 1, '2026-01-20Z', 1, 1)`);
    expect(statuses(await consolidate(pool, 'consolidate_old_hash_partitions(3, false)'))).toEqual([
      '2026_01_11 SKIPPED',
      '2026_01_04 CONSOLIDATED',
    ]);
    expect((await advices())['2026_01_11']).toMatch(/not one whole week/);
    const [first] = await missing();
    expect(first).toMatchObject({ week_key: '2026_01_11', status: 'PARTLY COVERED' });
    expect(first?.advice).toMatch(/^month covers 4 days of it/);
    expect(await shape(pool)).toEqual([
      'consolidated 0 account_balances_2026_01_04_consolidated',
      'odd 0 month',
    ]);
  });

  it('a week that is cut once more is refused', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 200);
    await pool.query(`
      alter table strata.account_balances_2026_01_04 detach partition strata.account_balances_2026_01_04_hash_3;
      create table strata.deeper partition of strata.account_balances_2026_01_04 for values with (modulus 4, remainder 3) partition by hash (account_address)`);
    expect(await consolidate(pool, 'consolidate_old_hash_partitions(3, false)')).toMatchObject([
      { status: 'FAILED', message: expect.stringMatching(/deeper is no ordinary, logged table/) },
    ]);
  });

  it('a week that a view reads by name is refused', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 200);
    await pool.query('create view public.mine as select * from strata.account_balances_2026_01_04_hash_1');
    expect(await consolidate(pool, 'consolidate_old_hash_partitions(3, false)')).toMatchObject([
      { status: 'FAILED', message: expect.stringMatching(/is used by the view or rule of public\.mine/) },
    ]);
  });

  it('a held week of the same name is a clear refusal', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 200);
    await pool.query('create table strata_held.account_balances_2026_01_04 (a int)');
    expect(await consolidate(pool, 'consolidate_old_hash_partitions(3, false)')).toMatchObject([
      {
        status: 'FAILED',
        message: expect.stringMatching(/there is a strata_held\.account_balances_2026_01_04 already/),
      },
    ]);
  });

  it('an unfinished consolidation of another kind is not run over', async () => {
    await fillWeeks(pool, KEYS.slice(0, 1), 200);
    await pool.query(
      `insert into strata.consolidations (set_name, lower_bound, upper_bound, step, week, week_name, stage_name, heap_order)
       values ('account_balances', '2026-01-04Z', '2026-01-11Z', 'copying', 'strata.account_balances_2026_01_04'::regclass, 'w', 's', 'time')`,
    );
    expect(await consolidate(pool, 'consolidate_old_hash_partitions(3, false)')).toMatchObject([
      {
        status: 'FAILED',
        message: expect.stringMatching(/a consolidation of it is unfinished \(copying since/),
      },
    ]);
  });
});

describe('tables of the user', () => {
  /** A table without a primary key, with about everything a table can have. */
  const TABLE = `
    create schema "my data";
    create table public.kinds (id int primary key);
    insert into public.kinds values (1), (2);
    create table "my data"."the Points" (
      gone text, account text not null, at timestamptz not null, kind int references public.kinds, note json,
      amount numeric(20, 4) not null default 0, doubled numeric generated always as (amount * 2) stored, check (amount >= 0)
    ) partition by range (at);
    alter table "my data"."the Points" drop column gone;
    create index "by Amount" on "my data"."the Points" (amount, (lower(account)) desc) where kind = 1;
    create unique index on "my data"."the Points" (account, at, kind) include (amount);
    create index on "my data"."the Points" using hash (account);
    select strata.create_partition_set('points', '"my data"."the Points"', 'at', 'account', 3);
    select strata.ensure_weeks('points', '2026-01-04Z', '2026-01-12Z');
    insert into "my data"."the Points" (account, at, kind, note, amount)
    select 'account ' || i % 50, '2026-01-04Z'::timestamptz + i * interval '7 minutes', 1 + i % 2, case when i % 3 = 0 then '{"a": 1}'::json end, i
      from generate_series(0, 2000) i;`;

  it('with text keys, expressions, foreign keys, generated columns and json are merged whole', async () => {
    await pool.query(TABLE);
    const before = await digest(pool, '"my data"."the Points"');
    const { rows } = await pool.query<{ status: string; message: string }>(
      `select status, message from strata.consolidate_old_weeks('points', 3, false)`,
    );
    expect(rows.map(({ status, message }) => (status === 'CONSOLIDATED' ? status : message))).toEqual([
      'CONSOLIDATED',
      'CONSOLIDATED',
    ]);
    expect(await digest(pool, '"my data"."the Points"')).toBe(before);
    expect(await shape(pool, 'points')).toEqual([
      'consolidated 0 points_2026_01_04_consolidated',
      'consolidated 0 points_2026_01_11_consolidated',
    ]);
    const { rows: indexes } = await pool.query<{ attached: number; constraints: number }>(
      `select (select count(*)::int from pg_index i join pg_inherits h on h.inhrelid = i.indexrelid where i.indrelid = t.oid) as attached,
              (select count(*)::int from pg_constraint c where c.conrelid = t.oid and c.contype = 'f') as constraints
         from (select '"my data".points_2026_01_04_consolidated'::regclass as oid) t`,
    );
    expect(indexes).toEqual([{ attached: 3, constraints: 1 }]);
  });

  it('go into the week by hash of text too, where the parent is not to be had', async () => {
    await pool.query(TABLE);
    const before = await digest(pool, '"my data"."the Points"');
    const reader = new pg.Client({ connectionString: url });
    await reader.connect();
    await reader.query('begin');
    await reader.query('lock table only "my data"."the Points" in access share mode');
    const { rows } = await pool.query<{ status: string }>(
      `select status from strata.consolidate_week('points', '2026_01_04')`,
    );
    expect(rows).toEqual([{ status: 'CONSOLIDATED' }]);
    expect((await shape(pool, 'points'))[0]).toBe('consolidated 1 points_2026_01_04');
    await reader.end();
    await pool.query(`select strata.flatten_weeks('points')`);
    expect((await shape(pool, 'points'))[0]).toBe('consolidated 0 points_2026_01_04_consolidated');
    expect(await digest(pool, '"my data"."the Points"')).toBe(before);
  });

  it('that are referenced elsewhere keep their week', async () => {
    await pool.query(`
      create table public.entries (who bytea not null, at timestamptz not null, primary key (who, at)) partition by range (at);
      select strata.create_partition_set('entries', 'public.entries', 'at', 'who');
      select strata.ensure_weeks('entries', '2026-01-04Z', '2026-01-04Z');
      insert into public.entries values ('\\x01', '2026-01-05Z');
      create table public.refers (who bytea, at timestamptz, foreign key (who, at) references public.entries);
      insert into public.refers values ('\\x01', '2026-01-05Z')`);
    const { rows } = await pool.query<{ status: string; message: string }>(
      `select status, message from strata.consolidate_week('entries', '2026_01_04')`,
    );
    expect(rows).toMatchObject([
      { status: 'FAILED', message: expect.stringMatching(/violates foreign key/) },
    ]);
    expect(await shape(pool, 'entries')).toEqual(['hash 4 entries_2026_01_04']);
    const { rows: left } = await pool.query(
      `select to_regclass('public.entries_2026_01_04_consolidated') as stage`,
    );
    expect(left).toEqual([{ stage: null }]);
  });

  it('whose key leaves out the column they are cut by are refused at once', async () => {
    await pool.query(
      'create table public.wrong (who bytea not null, at timestamptz not null, id int, primary key (id, at)) partition by range (at)',
    );
    await expect(
      pool.query(`select strata.create_partition_set('wrong', 'public.wrong', 'at', 'who')`),
    ).rejects.toThrow(/cannot be cut by who, which is not in its unique index/);
  });

  it('an unknown set is said so by every verb', async () => {
    for (const call of [
      `partition_info('x')`,
      `find_missing_weeks('x')`,
      `partition_distribution('x')`,
      `explain_query('x', now(), now())`,
      `consolidation_status('x')`,
      `consolidate_week('x', '2026_01_04')`,
      `consolidate_old_weeks('x')`,
      `consolidate_old_weeks('x', 3, false)`,
      `estimate_savings('x')`,
      `consolidation_report('x')`,
    ]) {
      await expect(pool.query(`select * from strata.${call}`), call).rejects.toThrow(
        `there is no partition set 'x'`,
      );
    }
  });
});
