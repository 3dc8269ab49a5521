/** Consolidation from plan to undo: what is merged, what is kept, what is shown before. */
import { expect, it } from 'vitest';
import { withClient } from '../../src/db/pool.ts';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { applyDropHeld, planDropHeld } from '../../src/warehouse/partitions/consolidate/held.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import { contents, expectNothingLeft, fillChanges, kinds } from './consolidate.ts';
import { NOW, QUICK, WEEK, weekAt } from './settings.ts';

const database = useDatabase();
const SET = 'balance_changes';
const fresh = async (weeks: number, rows = 2000): Promise<void> => {
  const { pool } = database;
  if ((await kinds(pool)).includes('consolidated'))
    await applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), { patience: QUICK });
  await pool.query('truncate strata.balance_changes');
  await fillChanges(database.pool, weeks, rows);
};

it('merges weeks that are old enough, keeps every row, takes late ones, and undoes it with them', async () => {
  const { pool } = database;
  await fresh(3);
  const before = await contents(pool, 'strata.balance_changes');
  const plan = await planConsolidate(pool, SET, { now: NOW });
  expect(await contents(pool, 'strata.balance_changes')).toBe(before);
  const { weeks } = await applyConsolidate(pool, plan, { patience: QUICK });
  expect(weeks.map(({ outcome, error }) => error ?? outcome)).toEqual(Array(3).fill('consolidated'));
  expect(weeks.every(({ rows }) => rows === 2000)).toBe(true);
  expect(await kinds(pool)).toEqual(['consolidated', 'consolidated', 'consolidated']);
  expect(await contents(pool, 'strata.balance_changes')).toBe(before);
  await expectNothingLeft(pool);

  await pool.query(
    `insert into strata.balance_changes select account_address, asset_id, block_time, block_num + 100000, ordinal, source_id, 7 from strata.balance_changes where block_num <= 300`,
  );
  await pool.query('delete from strata.balance_changes where block_num between 500 and 600');
  await pool.query(
    'update strata.balance_changes set delta = delta + 1, block_num = block_num + 1000000 where block_num between 700 and 800',
  );
  const late = await contents(pool, 'strata.balance_changes');
  const undone = await applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), {
    patience: QUICK,
  });
  expect(undone.weeks.map(({ outcome, error }) => error ?? outcome)).toEqual(Array(3).fill('undone'));
  expect(await kinds(pool)).toEqual(['hash', 'hash', 'hash']);
  expect(await contents(pool, 'strata.balance_changes')).toBe(late);
  await expectNothingLeft(pool);
});

it('drops what was held when it is due, and not before', async () => {
  const { pool } = database;
  await fresh(1);
  await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW, weeks: [WEEK] }), {
    patience: QUICK,
  });
  const now = new Date();
  expect((await planDropHeld(pool, SET, { now })).steps).toEqual([]);
  const later = new Date(now.getTime() + 8 * 86_400_000);
  expect(
    await applyDropHeld(pool, await planDropHeld(pool, SET, { now: later }), { patience: QUICK }),
  ).toEqual([{ week: WEEK.toISOString(), error: null }]);
  await expectNothingLeft(pool);
  const { rows } = await pool.query(`select to_regclass('strata_held.balance_changes_2024_01_14') as held`);
  expect(rows).toEqual([{ held: null }]);
  expect((await planUndoConsolidation(pool, SET)).steps).toEqual([]);
});

it('undoes a TRUNCATE that came after the swap: what was written behind it is all there is', async () => {
  const { pool } = database;
  await pool.query(`drop table strata.balance_changes_2024_01_14_consolidated`);
  await fillChanges(pool, 1, 500);
  await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW, weeks: [WEEK] }), {
    patience: QUICK,
  });
  await pool.query('delete from strata.balance_changes where block_num < 100');
  await pool.query('truncate strata.balance_changes');
  await pool.query(
    `insert into strata.balance_changes values ('\\x01', 1, '2024-01-15', 1, 0, 1, 5), ('\\x02', 1, '2024-01-15', 1, 0, 1, 6)`,
  );
  const after = await contents(pool, SET);
  const { weeks } = await applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), {
    patience: QUICK,
  });
  expect(weeks.map(({ outcome, error }) => error ?? outcome)).toEqual(['undone']);
  expect(await contents(pool, SET)).toBe(after);
  await expectNothingLeft(pool);
});

it('waits for a load that shares the gate, and loads wait for nothing but the exchange', async () => {
  const { pool } = database;
  await fresh(1);
  await withClient(pool, async (loader) => {
    await loader.query('begin');
    await loader.query(`select strata.share_gates('balance_changes')`);
    const done = applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW, weeks: [WEEK] }), {
      patience: QUICK,
    });
    await until('the capture to wait for the gate', async () => {
      const { rows } = await pool.query<{ query: string }>(
        `select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'advisory'`,
      );
      return rows.length > 0;
    });
    // It holds no table lock while it waits, so this goes through at once.
    await pool.query(
      `set lock_timeout = '1s'; update strata.balance_changes set delta = delta where block_num = 1; reset lock_timeout`,
    );
    await loader.query(`insert into strata.balance_changes values ('\\x03', 1, '2024-01-16', 1, 0, 1, 5)`);
    await loader.query('commit');
    expect((await done).weeks.map(({ outcome }) => outcome)).toEqual(['consolidated']);
  });
  const { rows } = await pool.query(
    `select count(*)::int as n from strata.balance_changes where account_address = '\\x03'`,
  );
  expect(rows).toEqual([{ n: 1 }]);
});

it('merges weeks that are cut by list, of any table of any name', async () => {
  const { pool } = database;
  await pool.query(`
    create schema "My data";
    create table "My data"."Events" (kind text collate "C" not null, at timestamptz not null, id int not null generated by default as identity,
      body json, twice int generated always as (id * 2) stored, primary key (kind, at, id)) partition by range (at);
    create unique index on "My data"."Events" (id desc, kind, at) include (body) where id > 10;
    create table "My data"."Week 1" partition of "My data"."Events" for values from ('2024-01-14') to ('2024-01-21') partition by list (kind);
    create table "My data"."Week 1 a" partition of "My data"."Week 1" for values in ('a', 'b');
    create table "My data"."Week 1 rest" partition of "My data"."Week 1" default;
    insert into "My data"."Events" (kind, at, body) select chr(97 + n % 5), timestamptz '2024-01-14' + interval '1 minute' * n, to_json(n) from generate_series(1, 1000) n;
    select strata.create_partition_set('events', '"My data"."Events"', 'at', 'kind');
    update strata.partition_sets set consolidate_after = '1 day' where set_name = 'events'`);
  const sum = async (): Promise<unknown> =>
    (
      await pool.query(
        `select count(*), sum(id), sum(twice), md5(string_agg(body::text, ',' order by id)) from "My data"."Events"`,
      )
    ).rows;
  const before = await sum();
  const { weeks } = await applyConsolidate(pool, await planConsolidate(pool, 'events', { now: NOW }), {
    patience: QUICK,
  });
  expect(weeks.map(({ outcome, error }) => error ?? outcome)).toEqual(['consolidated']);
  expect(await kinds(pool, 'events')).toEqual(['consolidated']);
  expect(await sum()).toEqual(before);
  await pool.query(`insert into "My data"."Events" (kind, at, body) values ('z', '2024-01-20', '1')`);
  const late = await sum();
  const undone = await applyUndoConsolidation(pool, await planUndoConsolidation(pool, 'events'), {
    patience: QUICK,
  });
  expect(undone.weeks.map(({ outcome, error }) => error ?? outcome)).toEqual(['undone']);
  expect(await sum()).toEqual(late);
});

it('writes the prediction of an estimator beside what was saved, and goes on without one that fails', async () => {
  const { pool } = database;
  await fresh(2);
  await pool.query(
    `create or replace function strata.estimate_week_saving(set_name text, week regclass, out row_count bigint, out bytes_before bigint, out bytes_after bigint, out predicted_saving numeric)
     language plpgsql as $$ begin if week::text ~ '01_21' then raise exception 'cannot tell'; end if; predicted_saving := 0.25; end $$`,
  );
  const { weeks } = await applyConsolidate(
    pool,
    await planConsolidate(pool, SET, { now: NOW, weeks: [WEEK, weekAt(1)] }),
    { patience: QUICK },
  );
  expect(weeks.map(({ outcome, error }) => error ?? outcome)).toEqual(['consolidated', 'consolidated']);
  const { rows } = await pool.query<{
    predicted_saving: string | null;
    actual: boolean;
    error: string | null;
  }>(
    `select predicted_saving::text, abs(actual_saving - (1 - bytes_after / bytes_before::numeric)) < 0.001 as actual, error
       from strata.consolidations where finished_at is null and set_name = $1 order by lower_bound`,
    [SET],
  );
  expect(rows).toEqual([
    { predicted_saving: '0.2500', actual: true, error: null },
    { predicted_saving: null, actual: true, error: 'no prediction: cannot tell' },
  ]);
});
