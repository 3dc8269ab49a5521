/** The test harness itself: databases of one's own, an owner without superuser rights. */
import { expect, it } from 'vitest';

import { useDatabase } from '../database.ts';

const database = useDatabase();

it('connects as an owner who is no superuser', async () => {
  const { rows } = await database.pool.query(
    'select rolsuper, rolcreatedb from pg_roles where rolname = current_user',
  );
  expect(rows).toEqual([{ rolsuper: false, rolcreatedb: true }]);
});

it('clones further databases that know nothing of each other', async () => {
  const others = await Promise.all([database.createDatabase(), database.createDatabase()]);
  await database.pool.query('create table public.only_here ()');
  expect(new Set([database.url, ...others.map((other) => other.url)]).size).toBe(3);
});
