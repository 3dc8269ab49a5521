/** Adoption from plan to undo: what becomes of rows, keys, ids, grants, views, triggers, policies and prepared queries. */
import pg from 'pg';
import { expect, it } from 'vitest';
import { applyAdopt } from '../../src/warehouse/partitions/adopt/apply.ts';
import { applyDropAdopted, planDropAdopted } from '../../src/warehouse/partitions/adopt/held.ts';
import { planAdopt } from '../../src/warehouse/partitions/adopt/plan.ts';
import { applyUndoAdopt, planUndoAdopt } from '../../src/warehouse/partitions/adopt/undo.ts';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { contents } from './consolidate.ts';
import { BALANCES, expectNoAdoptionLeft, fillBalances } from './adopt.ts';
import { BALANCES_REQUEST, BALANCES_SET, PRESENT } from './adopt-settings.ts';
import { QUICK } from './settings.ts';

const database = useDatabase();

it('makes weeks of a plain table, keeps every row, and undoes it with what was written since', async () => {
  const { pool } = database;
  await pool.query(BALANCES);
  await fillBalances(pool, 3000);
  const before = await contents(pool, 'public.account_balances');
  const plan = await planAdopt(pool, { ...BALANCES_REQUEST, modulus: 4 }, { now: PRESENT });
  expect(plan.set).toBe(BALANCES_SET);
  const result = await applyAdopt(pool, plan, { patience: QUICK });
  expect(result).toMatchObject({ set: BALANCES_SET, rows: 3000 });
  expect(await contents(pool, 'public.account_balances')).toBe(before);
  await expectNoAdoptionLeft(pool);
  const weeks = await pool.query(`select partition_name, kind, leaves from strata.week_info($1)`, [
    BALANCES_SET,
  ]);
  expect(weeks.rows[0]).toEqual({ partition_name: `${BALANCES_SET}_2024_01_14`, kind: 'hash', leaves: 4 });
  expect(weeks.rows).toHaveLength(8);

  await pool.query(
    `update public.account_balances set usd_value = usd_value + 1 where activity_id = 'activity_0' and usd_value < 100`,
  );
  await pool.query(`delete from public.account_balances where usd_value between 1000 and 1100`);
  await pool.query(
    `update public.account_balances set "timestamp" = "timestamp" + interval '8 days 30 minutes' where usd_value between 200 and 300`,
  );
  await pool.query(
    `insert into public.account_balances values ('2024-02-20', 'late', 1, 'x', '{}') on conflict (account_address, "timestamp", activity_id) do nothing`,
  );
  const late = await contents(pool, 'public.account_balances');
  await applyUndoAdopt(pool, await planUndoAdopt(pool, BALANCES_SET), { patience: QUICK });
  expect(await contents(pool, 'public.account_balances')).toBe(late);
  const { rows } = await pool.query(
    `select relkind from pg_class where oid = 'public.account_balances'::regclass`,
  );
  expect(rows).toEqual([{ relkind: 'r' }]);
  await expectNoAdoptionLeft(pool);
  await pool.query('drop table public.account_balances');
});

it('plans without changing anything', async () => {
  const { pool } = database;
  await pool.query(BALANCES);
  await fillBalances(pool, 100);
  const everything = `select md5(string_agg(concat_ws(' ', c.oid, c.relname, c.relnamespace, c.relhastriggers), ',' order by c.oid)) as catalog,
      (select count(*) from pg_proc) as functions, (select count(*) from strata.adoptions) as journal from pg_class c`;
  const before = await pool.query(everything);
  const plan = await planAdopt(pool, BALANCES_REQUEST, { now: PRESENT });
  expect((await pool.query(everything)).rows).toEqual(before.rows);
  expect(plan.steps.map(({ name }) => name.split(' ')[0])).toEqual([
    'stage',
    'weeks',
    'capture',
    'copy',
    'index',
    'arm',
    'replay',
    'prove',
    'swap',
  ]);
  await pool.query('alter table public.account_balances add column note text');
  await expect(applyAdopt(pool, plan, { patience: QUICK })).rejects.toMatchObject({
    kind: 'conflict',
    detail: { remedy: 'Plan again and look at what is different; nothing was done.' },
  });
  await expectNoAdoptionLeft(pool);
  await pool.query('drop table public.account_balances');
});

it('consolidates weeks of what was adopted, and undoes both, one after the other', async () => {
  const { pool } = database;
  await pool.query(BALANCES);
  await fillBalances(pool, 2000);
  await applyAdopt(pool, await planAdopt(pool, BALANCES_REQUEST, { now: PRESENT }), { patience: QUICK });
  await pool.query(`update strata.partition_sets set consolidate_after = '2 weeks' where set_name = $1`, [
    BALANCES_SET,
  ]);
  const done = await applyConsolidate(pool, await planConsolidate(pool, BALANCES_SET, { now: PRESENT }), {
    patience: QUICK,
  });
  expect(done.weeks.map(({ error, outcome }) => error ?? outcome)).toEqual(['consolidated']);
  await pool.query(
    `update public.account_balances set usd_value = usd_value + 1 where "timestamp" < '2024-01-24'`,
  );
  await pool.query(`delete from public.account_balances where usd_value between 100 and 300`);
  const late = await contents(pool, 'public.account_balances');
  await expect(planUndoAdopt(pool, BALANCES_SET)).rejects.toMatchObject({
    detail: { remedy: 'Undo the consolidations first, or wait until they are dropped.' },
  });
  const undone = await applyUndoConsolidation(pool, await planUndoConsolidation(pool, BALANCES_SET), {
    patience: QUICK,
  });
  expect(undone.weeks.map(({ error, outcome }) => error ?? outcome)).toEqual(['undone']);
  expect(await contents(pool, 'public.account_balances')).toBe(late);
  await applyUndoAdopt(pool, await planUndoAdopt(pool, BALANCES_SET), { patience: QUICK });
  expect(await contents(pool, 'public.account_balances')).toBe(late);
  await expectNoAdoptionLeft(pool);
  await pool.query('drop table public.account_balances');
});

it('keeps ids, grants, comments, defaults, policies, triggers, views, functions and prepared queries, there and back', async () => {
  const { pool } = database;
  await pool.query(`
    create table public.events (
      id bigserial primary key, "at" timestamptz not null default '2024-02-01', "Who" text not null, amount numeric not null default 5 check (amount >= 0),
      twice numeric generated always as (amount * 2) stored, code int generated always as identity (start with 100 increment by 5), note text);
    create index events_note on public.events (note) where note is not null;
    comment on table public.events is 'what happened';
    comment on column public.events.note is 'a note';
    comment on index public.events_note is 'for notes';
    grant select, insert on public.events to strata_reader;
    grant usage on sequence public.events_code_seq to strata_reader;
    alter table public.events enable row level security;
    create policy everyone on public.events using (amount < 1000000) with check (amount >= 0);
    create publication events_of for table public.events (id, "at", "Who", note) where (id > 0) with (publish = 'insert', publish_via_partition_root = true);
    alter table public.events replica identity full;
    create table public.audit (what text);
    create function public.noted() returns trigger language plpgsql as $f$ begin insert into public.audit values (tg_op); return null; end $f$;
    create trigger noted after delete on public.events for each row execute function public.noted();
    create view public.big as select "Who", sum(amount) as total from public.events group by "Who" having sum(amount) > 10;
    create view public.notes with (security_barrier = true) as select id, "Who", note from public.events where note is not null;
    create view public.many as select count(*) as n from public.big;
    create rule quiet as on delete to public.notes do instead update public.events e set note = null where e.id = old.id;
    grant select on public.big to strata_loader;
    create function public.total() returns numeric language sql begin atomic select sum(amount) from public.events; end;
    insert into public.events ("Who", "at", amount, note) select 'w' || n % 7, timestamptz '2024-01-20' + interval '3 hours' * n, n, case when n % 3 = 0 then 'n' end from generate_series(1, 120) n`);
  const state = `select (select array_agg(t order by t) from (select e::text as t from public.events e) r) as rows,
      (select relacl from pg_class where oid = 'public.events'::regclass) as grants, obj_description('public.events'::regclass) as comment,
      col_description('public.events'::regclass, (select attnum from pg_attribute where attrelid = 'public.events'::regclass and attname = 'note')) as note,
      obj_description('public.events_note'::regclass) as index_comment,
      (select array_agg((polname, polcmd)::text) from pg_policy where polrelid = 'public.events'::regclass) as policies,
      (select relacl from pg_class where oid = 'public.events_code_seq'::regclass) as code_grants,
      (select reloptions from pg_class where oid = 'public.notes'::regclass) as options, (select relacl from pg_class where oid = 'public.big'::regclass) as view_grants,
      pg_get_viewdef('public.notes'::regclass) as notes,
      (select array_agg((tablename, attnames, rowfilter)::text) from pg_publication_tables where pubname = 'events_of') as published,
      (select relreplident from pg_class where oid = 'public.events'::regclass) as identity_of_replica, (select n from public.many) as many, public.total() as total,
      pg_get_serial_sequence('public.events', 'id') as serial, pg_get_serial_sequence('public.events', 'code') as identity,
      (select array_agg(column_default::text order by column_name) from information_schema.columns where table_name = 'events' and table_schema = 'public') as defaults`;
  const before = (await pool.query(state)).rows;
  const session = new pg.Client({ connectionString: database.url });
  await session.connect();
  try {
    // What an application does all day, in one session that never hears of the exchange; ids go on by one, codes by five.
    const work = async (n: number): Promise<void> => {
      const add = {
        name: 'add',
        text: `insert into public.events ("Who", note) values ($1, 'n') returning id::int, code`,
      };
      expect((await session.query({ ...add, values: ['new'] })).rows).toEqual([
        { id: 121 + n, code: 700 + 5 * n },
      ]);
      const count = { name: 'count', text: 'select count(*)::int as n from public.events where "Who" = $1' };
      expect((await session.query({ ...count, values: ['new'] })).rows).toEqual([{ n: 1 }]);
      await expect(session.query(`update public.events set amount = -1 where "Who" = 'new'`)).rejects.toThrow(
        'events_amount_check',
      );
      await session.query(`delete from public.notes where "Who" = 'new'`);
      expect(
        (await session.query(`delete from public.events where "Who" = 'new' returning note`)).rows,
      ).toEqual([{ note: null }]);
      expect((await session.query('select count(*)::int as n from public.audit')).rows).toEqual([
        { n: n + 1 },
      ]);
      expect((await pool.query(state)).rows).toEqual(before);
    };
    await work(0);
    const request = { table: 'events', time: 'at', hash: 'Who', modulus: 2 };
    const plan = await planAdopt(pool, request, { now: PRESENT });
    expect(plan.notes[0]).toContain('The key ("id") becomes PRIMARY KEY ("id", "Who", "at")');
    await applyAdopt(pool, plan, { patience: QUICK });
    await work(1);
    const { rows: keys } = await pool.query(
      `select conname, pg_get_constraintdef(oid) as key from pg_constraint where conrelid = 'public.events'::regclass and contype = 'p'`,
    );
    expect(keys).toEqual([{ conname: 'events_pkey', key: 'PRIMARY KEY (id, "Who", at)' }]);
    await applyUndoAdopt(pool, await planUndoAdopt(pool, 'events'), { patience: QUICK });
    await work(2);
    await expectNoAdoptionLeft(pool);
    await applyAdopt(pool, await planAdopt(pool, request, { now: PRESENT }), { patience: QUICK });
    await work(3);
    const { rows: due } = await pool.query<{ drop_after: Date }>(
      `select drop_after from strata.adoptions where finished_at is null`,
    );
    expect(
      (await planDropAdopted(pool, 'events', { now: new Date((due[0]?.drop_after.getTime() ?? 0) - 1) }))
        .steps,
    ).toEqual([]);
    expect(
      await applyDropAdopted(
        pool,
        await planDropAdopted(pool, 'events', { now: due[0]?.drop_after ?? PRESENT }),
        { patience: QUICK },
      ),
    ).toBe(true);
    await work(4);
    await expectNoAdoptionLeft(pool);
    await expect(planUndoAdopt(pool, 'events')).rejects.toMatchObject({
      detail: { remedy: 'It was never adopted, or the plain table is not held any more.' },
    });
  } finally {
    await session.end();
  }
});
