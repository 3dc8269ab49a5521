/** The database of a balance test: a clone as every test has, with one function of the fold mutated where the environment asks for it. */
import type { Pool } from 'pg';
import { beforeAll } from 'vitest';
import { useDatabase, type TestDatabase } from '../database.ts';
import { chosenMutation, type Mutation } from './mutations.ts';

/** Changes the function in this database alone; refuses a mutation whose text is not there, once. */
const mutate = async (pool: Pool, { name, changes, from, to }: Mutation): Promise<void> => {
  const { rows } = await pool.query<{ text: string }>(
    `select pg_get_functiondef(p.oid) as text from pg_proc p where p.pronamespace = 'strata'::regnamespace and p.proname = $1`,
    [changes],
  );
  const text = rows[0]?.text ?? '';
  const pieces = text.split(from);
  if (rows.length !== 1 || pieces.length !== 2) {
    throw new Error(
      `mutation "${name}": strata.${changes}() has its text ${pieces.length - 1} times, not once`,
    );
  }
  await pool.query(pieces.join(to));
};

/** A database of its own for the file or describe block that calls it. */
export const useBalances = (): TestDatabase => {
  const database = useDatabase();
  beforeAll(async () => {
    const mutation = chosenMutation();
    if (mutation !== null) await mutate(database.pool, mutation);
  });
  return database;
};
