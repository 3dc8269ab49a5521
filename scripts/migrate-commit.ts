/** Turns migrations/current.sql into the next committed migration, proving it on a throw-away database first. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { commit } from 'graphile-migrate';
import pg from 'pg';
import { MIGRATIONS_FOLDER } from '../src/db/migrate.ts';
import { withScratchServer } from './scratch.ts';

await withScratchServer(async (url) => {
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  await admin.query('create database strata_dev');
  await admin.query('create database strata_shadow');
  await admin.end();
  const to = (database: string): string => Object.assign(new URL(url), { pathname: `/${database}` }).href;
  await commit({
    connectionString: to('strata_dev'),
    shadowConnectionString: to('strata_shadow'),
    rootConnectionString: url,
    migrationsFolder: MIGRATIONS_FOLDER,
  });
});
// A blank current.sql keeps its headline, so that the next author sees what belongs there.
const current = join(MIGRATIONS_FOLDER, 'current.sql');
const text = await readFile(current, 'utf8');
if (!text.includes('--!'))
  await writeFile(
    current,
    '-- The next migration: table DDL here, functions as `--!include functions/NAME.sql`.\n',
  );
