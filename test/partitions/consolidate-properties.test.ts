/** What CREATE TABLE LIKE forgets survives a consolidation, and the way back. */
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { applyConsolidate } from '../../src/warehouse/partitions/consolidate/apply.ts';
import { planConsolidate } from '../../src/warehouse/partitions/consolidate/plan.ts';
import {
  applyUndoConsolidation,
  planUndoConsolidation,
} from '../../src/warehouse/partitions/consolidate/undo.ts';
import { useDatabase } from '../database.ts';
import { contents, expectNothingLeft } from './consolidate.ts';
import { NOW, QUICK } from './settings.ts';

const database = useDatabase();
const SET = 'account_balances';
const WEEK = 'strata.account_balances_2024_01_14';
const SUFFIX = `${process.pid}_${Date.now() % 1_000_000}`;
const ROLES = { owner: `owner_${SUFFIX}`, reader: `reader_${SUFFIX}`, writer: `writer_${SUFFIX}` };

/** Everything about a table that a person may have set, by its present name. */
const propertiesOf = async (table: string): Promise<Record<string, unknown>> => {
  const { rows } = await database.pool.query<Record<string, unknown>>(
    `select pg_get_userbyid(c.relowner) as owner, c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
            (select json_agg(g order by g) from (select concat_ws(' ', coalesce(a.attname, ''), x.grantee::regrole, x.privilege_type, x.is_grantable) as g
               from (select null::name as attname, c.relacl as acl union all
                     select attname, attacl from pg_attribute where attrelid = c.oid and attacl is not null) a, aclexplode(a.acl) x) all_grants) as grants,
            (select json_agg(json_build_array(polname, polpermissive, polcmd, polroles::regrole[]::text, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) order by polname)
               from pg_policy where polrelid = c.oid) as policies,
            (select json_agg(json_build_array(tgname, tgenabled, tgtype, tgfoid::regproc, tgargs::text) order by tgname)
               from pg_trigger where tgrelid = c.oid and tgparentid = 0 and tgname not like 'strata%') as triggers,
            (select json_agg(json_build_array(tgname, tgenabled) order by tgname)
               from pg_trigger where tgrelid = c.oid and tgparentid <> 0 and tgname not like 'strata%') as cloned,
            obj_description(c.oid) as comment,
            (select json_agg(json_build_array(attname, col_description(attrelid, attnum), nullif(attstattarget, -1),
               array(select o from unnest(attoptions) o where o not like 'pg\\_attver=%'), attstorage, attcompression, attnotnull, pg_get_expr(d.adbin, d.adrelid)) order by attname)
               from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum where attrelid = c.oid and attnum > 0) as columns,
            (select json_agg(json_build_array(conname, pg_get_constraintdef(oid)) order by conname) from pg_constraint where conrelid = c.oid and contype = 'c') as checks,
            (select json_agg(array(select unnest(string_to_array(pg_get_statisticsobjdef_columns(oid), ', ')) order by 1) order by oid) from pg_statistic_ext where stxrelid = c.oid) as statistics
       from pg_class c where c.oid = $1::regclass`,
    [table],
  );
  return rows[0] ?? {};
};

/** What is published, and how. */
const published = async (): Promise<readonly string[]> => {
  const { rows } = await database.pool.query<{ table: string }>(
    `select concat(tablename, ' ', array(select unnest(attnames) order by 1), ' ', rowfilter) as table from pg_publication_tables order by 1`,
  );
  return rows.map(({ table }) => table.replace('account_balances_2024_01_14_', ''));
};

const reloptions = async (table: string): Promise<readonly string[] | null> => {
  const { rows } = await database.pool.query<{ reloptions: string[] | null }>(
    'select reloptions from pg_class where oid = $1::regclass',
    [table],
  );
  return rows[0]?.reloptions ?? null;
};

beforeAll(async () => {
  const { pool } = database;
  const admin = new pg.Client({ connectionString: database.adminUrl });
  await admin.connect();
  const me = (await pool.query<{ me: string }>('select current_user as me')).rows[0]?.me ?? '';
  for (const role of Object.values(ROLES)) await admin.query(`create role ${role}`);
  await admin.query(
    `grant ${ROLES.owner} to "${me}"; grant usage, create on schema strata, strata_held to ${ROLES.owner}`,
  );
  // What a user's own settings might be, on the parent, the week and its leaves.
  await pool.query(`select strata.ensure_weeks('${SET}', '2024-01-14', '2024-01-14')`);
  await pool.query(
    `insert into strata.${SET} select decode(md5(n::text), 'hex'), n % 3, timestamptz '2024-01-14' + interval '1 hour' * (n % 168), n, 1, null, jsonb_build_object('n', n) from generate_series(1, 500) n`,
  );
  await pool.query(`
    create function strata.touch() returns trigger language plpgsql as 'begin new.usd_value := coalesce(new.usd_value, 0); return new; end';
    create trigger touch before insert on strata.${SET} for each row execute function strata.touch();
    create trigger week_touch before update of balance on ${WEEK} for each row when (old.balance <> new.balance) execute function strata.touch('a', 'b');
    alter table ${WEEK} enable always trigger week_touch;
    create trigger off_touch before insert on ${WEEK} for each row execute function strata.touch();
    alter table ${WEEK} disable trigger off_touch;
    comment on table ${WEEK} is 'It''s the second week';
    comment on column ${WEEK}.balance is 'how much';
    alter table strata.${SET} alter column asset_id set statistics 777;
    alter table ${WEEK} alter column account_address set (n_distinct = -0.5);
    alter table strata.${SET} alter column data set storage external;
    alter table strata.${SET} alter column usd_value set default 0;
    create statistics strata.pair (dependencies) on account_address, asset_id from ${WEEK};
    alter table strata.${SET} add constraint sane check (change_count >= 0);
    grant select on ${WEEK} to ${ROLES.reader} with grant option;
    grant insert, delete on ${WEEK} to ${ROLES.writer};
    grant update (balance, usd_value) on ${WEEK} to ${ROLES.writer};
    grant select on ${WEEK} to public;
    alter default privileges in schema strata grant truncate on tables to ${ROLES.writer};
    alter table ${WEEK} enable row level security;
    create policy visible on ${WEEK} for select to ${ROLES.reader}, public using (balance >= 0);
    create policy writable on ${WEEK} as restrictive for update to ${ROLES.writer} using (true) with check (asset_id <> 2);`);
  const published = [0, 1, 2, 3].map(
    (leaf) => `${WEEK}_hash_${leaf} (account_address, asset_id, "timestamp", balance) where (asset_id < 2)`,
  );
  await admin.query(
    `create publication pub_${SUFFIX} for table ${published.join(', ')} with (publish = 'insert'); alter publication pub_${SUFFIX} owner to "${me}"`,
  );
  for (const leaf of [0, 1, 2, 3])
    await pool.query(
      `alter table ${WEEK}_hash_${leaf} set (autovacuum_vacuum_scale_factor = 0.07, autovacuum_enabled = false); alter table ${WEEK}_hash_${leaf} replica identity full`,
    );
  await pool.query(`alter table ${WEEK} replica identity full`);
  for (const leaf of ['', '_hash_0', '_hash_1', '_hash_2', '_hash_3'])
    await pool.query(`alter table ${WEEK}${leaf} owner to ${ROLES.owner}`);
  await admin.end();
});

afterAll(async () => {
  const admin = new pg.Client({ connectionString: database.adminUrl });
  await admin.connect();
  for (const role of Object.values(ROLES))
    await admin.query(`drop owned by ${role} cascade; drop role ${role}`);
  await admin.end();
});

it('keeps owner, grants, policies, triggers, identity, publications, options, comments, targets and statistics', async () => {
  const { pool } = database;
  const before = await propertiesOf(WEEK);
  expect(before).toMatchObject({ owner: ROLES.owner, relrowsecurity: true, relreplident: 'f' });
  expect(before['grants']).toEqual(
    expect.arrayContaining([`balance ${ROLES.writer} UPDATE f`, ` ${ROLES.reader} SELECT t`, ` - SELECT f`]),
  );
  const how = '{account_address,asset_id,balance,timestamp} (asset_id < 2)';
  const leaves = [0, 1, 2, 3].map((leaf) => `hash_${leaf} ${how}`);
  expect(await published()).toEqual(leaves);
  const rows = await contents(pool, SET);
  const plan = await planConsolidate(pool, SET, { now: NOW });
  expect(plan.notes.filter((note) => note.includes('left alone'))).toEqual([]);
  const { weeks } = await applyConsolidate(pool, plan, { patience: QUICK });
  expect(weeks.map(({ error }) => error)).toEqual([null]);
  expect(await propertiesOf(`${WEEK}_consolidated`)).toEqual(before);
  expect(await reloptions(`${WEEK}_hash_0`.replace('strata.', 'strata_held.'))).toContain('fillfactor=85');
  expect((await reloptions(`${WEEK}_consolidated`))?.toSorted()).toEqual([
    'autovacuum_enabled=false',
    'autovacuum_vacuum_scale_factor=0.07',
  ]);
  expect(await contents(pool, SET)).toBe(rows);
  expect(await published()).toEqual([`consolidated ${how}`]);

  const undone = await applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), {
    patience: QUICK,
  });
  expect(undone.weeks.map(({ error }) => error)).toEqual([null]);
  expect(await propertiesOf(WEEK)).toEqual(before);
  expect(await contents(pool, SET)).toBe(rows);
  expect(await published()).toEqual(leaves);
  await expectNothingLeft(pool);
});

it('packs the heap and the b-trees, and lays rows in the order of the set', async () => {
  const { pool } = database;
  for (const [order, monotone] of [
    ['key', 'account_address'],
    ['time', `date_bin('10 hours', "timestamp", '2024-01-14')`],
  ] as const) {
    await pool.query(`update strata.partition_sets set heap_order = $1 where set_name = $2`, [order, SET]);
    const { weeks } = await applyConsolidate(pool, await planConsolidate(pool, SET, { now: NOW }), {
      patience: QUICK,
    });
    expect(weeks.map(({ error }) => error)).toEqual([null]);
    // In key order rows lie by key within what came of each leaf; in time order by slice throughout.
    const { rows } = await pool.query<{ breaks: number }>(
      `select count(*) filter (where v < before) as breaks from (select ${monotone} as v, lag(${monotone}) over (order by ctid) as before from ${WEEK}_consolidated) o`,
    );
    expect(rows[0]?.breaks).toBeLessThanOrEqual(order === 'time' ? 0 : 200);
    const indexes = await pool.query<{ am: string; options: string[] }>(
      `select a.amname as am, c.reloptions as options from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam where i.indrelid = '${WEEK}_consolidated'::regclass order by 1`,
    );
    expect(indexes.rows).toEqual([
      { am: 'brin', options: ['pages_per_range=16', 'autosummarize=on'] },
      { am: 'btree', options: ['fillfactor=100'] },
    ]);
    await applyUndoConsolidation(pool, await planUndoConsolidation(pool, SET), { patience: QUICK });
  }
});
