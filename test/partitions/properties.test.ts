/** What a table carries beside its rows survives consolidation: owner, grants, row security, comments, statistics, settings, replica identity. */
import pg from 'pg';
import { beforeAll, expect, it } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { useDatabase } from '../database.ts';
import { consolidate, digest, fillWeeks, KEYS, statuses } from './weeks.ts';

const database = useDatabase();
const WEEK = 'strata.account_balances_2026_01_04';

/** Everything LIKE leaves out, as the catalog has it, without what differs by nature. */
const properties = async (pool: Pool, table: string): Promise<Record<string, unknown>> => {
  const { rows } = await pool.query<Record<string, unknown>>(
    `select c.relowner::regrole::text as owner, c.relrowsecurity, c.relforcerowsecurity, obj_description(c.oid, 'pg_class') as comment,
            (select array_agg(a::text order by a::text) from unnest(c.relacl) a) as grants,
            (select array_agg(a.attname || ' ' || x::text order by a.attnum, x::text) from pg_attribute a, unnest(a.attacl) x where a.attrelid = c.oid) as column_grants,
            (select array_agg(a.attname || ' ' || col_description(c.oid, a.attnum) order by a.attnum) from pg_attribute a
              where a.attrelid = c.oid and col_description(c.oid, a.attnum) is not null) as column_comments,
            (select array_agg(a.attname || ' ' || a.attstattarget order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and a.attstattarget > 0) as targets,
            (select array_agg(a.attname || ' ' || o order by a.attnum, o) from pg_attribute a, unnest(a.attoptions) o where a.attrelid = c.oid and o not like 'pg\\_attver=%') as column_options,
            (select array_agg(concat_ws('|', p.polname, p.polcmd, p.polpermissive, pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid),
                                        (select string_agg(coalesce(r.rolname, 'public'), ',') from unnest(p.polroles) o left join pg_roles r on r.oid = o)) order by p.polname)
               from pg_policy p where p.polrelid = c.oid) as policies,
            (select array_agg(array(select unnest(string_to_array(pg_get_statisticsobjdef_columns(s.oid), ', ')) order by 1)::text || s.stxkind::text order by s.oid) from pg_statistic_ext s where s.stxrelid = c.oid) as statistics,
            (select array_agg(concat_ws(' ', t.tgname, t.tgenabled, t.tgtype) order by t.tgname) from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal) as triggers,
            (select array_agg(p.pubname || ' ' || coalesce(pg_get_expr(m.prqual, c.oid), '') order by p.pubname) from pg_publication_rel m join pg_publication p on p.oid = m.prpubid where m.prrelid = c.oid) as publications
       from pg_class c where c.oid = $1::regclass`,
    [table],
  );
  return rows[0]!;
};

beforeAll(async () => {
  await fillWeeks(database.pool, KEYS.slice(0, 1), 300);
  await database.pool.query(`
    create function public.note() returns trigger language plpgsql as 'begin return new; end';
    grant select on ${WEEK} to strata_reader with grant option;
    grant insert (balance, usd_value), update (balance) on ${WEEK} to strata_loader;
    alter table ${WEEK} enable row level security;
    create policy "odd ""name" on ${WEEK} as restrictive for select to strata_reader, strata_loader using (balance > 0);
    create policy writing on ${WEEK} for insert with check (change_count > 0);
    comment on table ${WEEK} is 'It''s a week';
    comment on column ${WEEK}.balance is 'what it came to';
    alter table ${WEEK} alter column balance set statistics 321;
    alter table ${WEEK} alter column asset_id set (n_distinct = 5);
    create statistics public.pairs (ndistinct, dependencies) on account_address, asset_id from ${WEEK};
    create trigger "my trigger" before update of balance on ${WEEK} for each row when (new.balance > 0) execute function public.note();
    create trigger quiet after insert on ${WEEK} for each row execute function public.note();
    alter table ${WEEK} disable trigger quiet;
    create trigger of_all after insert on strata.account_balances for each row execute function public.note();
    create publication weeks for table ${WEEK} (account_address, asset_id, "timestamp", balance) where (account_address <> '\\x00') with (publish_via_partition_root);`);
  for (const leaf of [0, 1, 2, 3]) {
    await database.pool.query(`
      alter table ${WEEK}_hash_${leaf} replica identity full;
      alter table ${WEEK}_hash_${leaf} set (autovacuum_enabled = false, autovacuum_vacuum_scale_factor = 0.05);
      alter table ${WEEK}_hash_${leaf} alter column usd_value set statistics 777`);
  }
});

it('all of it survives, for the week and its settings for its table', async () => {
  const before = await properties(database.pool, WEEK);
  const rows = await digest(database.pool, WEEK);
  for (const field of ['grants', 'column_grants', 'policies', 'statistics', 'triggers', 'publications'])
    expect(before[field], field).not.toBeNull();
  expect(statuses(await consolidate(database.pool, 'consolidate_old_hash_partitions(3, false)'))).toEqual([
    '2026_01_04 CONSOLIDATED',
  ]);
  const after = await properties(database.pool, `${WEEK}_consolidated`);
  expect(after).toEqual({ ...before, targets: ['account_address 20', 'balance 321', 'usd_value 777'] });
  expect(await digest(database.pool, `${WEEK}_consolidated`)).toBe(rows);
  const { rows: settings } = await database.pool.query(
    `select relreplident, reloptions from pg_class where oid = '${WEEK}_consolidated'::regclass`,
  );
  expect(settings).toEqual([
    {
      relreplident: 'f',
      reloptions: ['autovacuum_enabled=false', 'autovacuum_vacuum_scale_factor=0.05'], // its fillfactor of 85 is gone
    },
  ]);
});

it('an owner other than the caller stays the owner', async () => {
  const admin = new pg.Client({ connectionString: database.adminUrl });
  await admin.connect();
  await admin.query(`
    create table public.mine (id int primary key, note text);
    create table public.copy (like public.mine including all)`);
  await admin.query('alter table public.mine owner to strata_maintainer');
  await admin.query('grant select on public.mine to public');
  await admin.query('alter table public.mine replica identity using index mine_pkey');
  await admin.query(`select strata.copy_properties('public.mine', 'public.copy')`);
  await admin.query(`select strata.copy_properties('public.mine', 'public.copy')`); // twice is once
  await admin.query(`select strata.hand_over('public.mine', 'public.copy')`);
  const { rows } = await admin.query(
    `select c.relowner::regrole::text as owner, has_table_privilege('public', c.oid, 'select') as readable, c.relreplident,
            (select i.indisreplident from pg_index i where i.indrelid = c.oid) as by_index from pg_class c where c.oid = 'public.copy'::regclass`,
  );
  await admin.query('drop table public.mine, public.copy');
  await admin.end();
  expect(rows).toEqual([{ owner: 'strata_maintainer', readable: true, relreplident: 'i', by_index: true }]);
});

it('a replica identity without its index is said so', async () => {
  await database.pool.query(`
    create table public.keyed (id int not null, note text);
    create unique index on public.keyed (id);
    alter table public.keyed replica identity using index keyed_id_idx;
    create table public.bare (like public.keyed)`);
  await expect(database.pool.query(`select strata.hand_over('public.keyed', 'public.bare')`)).rejects.toThrow(
    'public.bare has no unique index like the one that is the replica identity of public.keyed',
  );
});
