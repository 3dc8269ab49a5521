/** Migrations: idempotent, safe in a crowd, errors with a caret, and the committed text true to sql/. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { schemaTypes, SCHEMA_FILE } from '../../scripts/schema-types.ts';
import { recreateDatabase, dropDatabase } from '../../src/db/administer.ts';
import { migrate, MIGRATIONS_FOLDER, pendingMigrations, placeInMigration } from '../../src/db/migrate.ts';
import { useDatabase } from '../database.ts';

const database = useDatabase();
const EMPTY = 'strata_test_empty';
let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pgstrata-migrations-'));
});
afterAll(async () => {
  await dropDatabase(inject('ownerUrl'), `${EMPTY}_${process.pid}`);
  await rm(folder, { recursive: true, force: true });
});

const emptyDatabase = (): Promise<string> => recreateDatabase(inject('ownerUrl'), `${EMPTY}_${process.pid}`);

describe('migrate', () => {
  it('changes nothing the second time', async () => {
    const again = await migrate({ connectionString: database.url });
    expect(again.applied).toEqual([]);
    expect(again.total).toBeGreaterThan(0);
    expect(await pendingMigrations({ connectionString: database.url })).toEqual([]);
  });

  it('is started by twenty processes at once: one works, all succeed', async () => {
    const connectionString = await emptyDatabase();
    expect(await pendingMigrations({ connectionString })).not.toEqual([]);
    const results = await Promise.all(Array.from({ length: 20 }, () => migrate({ connectionString })));
    expect(results.filter((result) => result.applied.length > 0)).toHaveLength(1);
    expect(new Set(results.map((result) => result.total)).size).toBe(1);
  });

  it('shows file, line and a caret when the SQL is wrong, and applies nothing of the file', async () => {
    const connectionString = await emptyDatabase();
    await cp(MIGRATIONS_FOLDER, folder, {
      recursive: true,
      filter: (source) => !source.endsWith('fixtures'),
    });
    const body = 'create table public.fine (a int);\n\nselect one,\n  two frmo\nfrom nowhere;\n';
    await writeFile(
      join(folder, 'committed', '000099-broken.sql'),
      `--! Previous: ${await lastHash()}\n--! Hash: sha1:0\n--! AllowInvalidHash\n\n${body}`,
    );
    const failure = migrate({ connectionString, migrationsFolder: folder });
    await expect(failure).rejects.toMatchObject({
      kind: 'database',
      detail: { file: '000099-broken.sql', line: 9, sqlstate: '42P01' },
    });
    await expect(failure).rejects.toThrow(/000099-broken\.sql:9: .*\n {2}from nowhere;\n {7}\^/);
    const client = new pg.Client({ connectionString });
    await client.connect();
    const { rows } = await client.query(
      "select to_regclass('public.fine') as fine, to_regclass('strata.streams') as streams",
    );
    await client.end();
    expect(rows).toEqual([{ fine: null, streams: 'strata.streams' }]);
  });

  it('names the included file where the SQL came from', () => {
    const text =
      '--! Hash: x\n\nselect 1;\n--! Included functions/account.sql\nline one\nline two\n--! EndIncluded functions/account.sql\nlast';
    const body = text.slice(text.indexOf('select'));
    expect(placeInMigration('f.sql', text, body.indexOf('two') + 1)).toEqual({
      file: 'sql/functions/account.sql',
      line: 2,
      column: 6,
      text: 'line two',
    });
    expect(placeInMigration('f.sql', text, body.indexOf('last') + 1)).toEqual({
      file: 'f.sql',
      line: 8,
      column: 1,
      text: 'last',
    });
  });
});

describe('the committed migrations', () => {
  it('leave every function and view as its file in sql/ has it', async () => {
    const definitions = (): Promise<pg.QueryResult> =>
      database.pool.query(`
        select p.oid::regprocedure::text as name, pg_get_functiondef(p.oid) as text, obj_description(p.oid, 'pg_proc') as comment
          from pg_proc p where p.pronamespace = 'strata'::regnamespace
        union all
        select c.relname, pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class') from pg_class c
         where c.relnamespace = 'strata'::regnamespace and c.relkind = 'v' order by 1`);
    const before = await definitions();
    for (const kind of ['functions', 'views', 'analytics']) {
      const root = new URL(`../../sql/${kind}/`, import.meta.url);
      for (const file of await readdir(root))
        await database.pool.query(await readFile(new URL(file, root), 'utf8'));
    }
    expect((await definitions()).rows).toEqual(before.rows);
  });

  it('give every function and table a comment, and pin every search_path', async () => {
    const { rows } = await database.pool.query(`
      select p.oid::regprocedure::text as name from pg_proc p where p.pronamespace = 'strata'::regnamespace
         and (obj_description(p.oid, 'pg_proc') is null or (p.prokind = 'f' and not exists (select from unnest(p.proconfig) c where c like 'search_path=%pg_temp'))
           -- a procedure that commits may have no settings of its own: it makes them for each of its transactions
           or p.prokind = 'p' and p.prosrc not like '%set_config(''search_path'', ''pg_catalog, strata, pg_temp'', true)%')
      union all
      select c.relname from pg_class c where c.relnamespace = 'strata'::regnamespace and c.relkind in ('r', 'p', 'v')
         and not c.relispartition and obj_description(c.oid, 'pg_class') is null`);
    expect(rows).toEqual([]);
  });

  it('may be executed by nobody but the owner and our roles', async () => {
    const { rows } = await database.pool.query(`
      select p.oid::regprocedure::text as name from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
       where p.pronamespace = 'strata'::regnamespace and a.grantee = 0`);
    expect(rows).toEqual([]);
  });

  it('are what src/db/schema.ts was generated from', async () => {
    expect(await schemaTypes(database.url)).toBe(await readFile(SCHEMA_FILE, 'utf8'));
  });

  it('leave nothing waiting in current.sql', async () => {
    const current = await readFile(join(MIGRATIONS_FOLDER, 'current.sql'), 'utf8');
    expect(current.split('\n').filter((line) => line !== '' && !line.startsWith('-- '))).toEqual([]);
  });
});

const lastHash = async (): Promise<string> => {
  const committed = join(MIGRATIONS_FOLDER, 'committed');
  const last = (await readdir(committed)).toSorted().at(-1)!;
  return /^--! Hash: (.*)$/m.exec(await readFile(join(committed, last), 'utf8'))![1]!;
};
