/** Weeks with rows in them, ready to be consolidated, and what a consolidation must leave behind: nothing. */
import { expect } from 'vitest';
import type { Pool } from '../../src/db/query.ts';
import { weekAt } from './settings.ts';

/** Fills weeks of balance_changes: so many rows each, spread over the week, a few per account. */
export const fillChanges = async (pool: Pool, weeks: number, rows: number): Promise<void> => {
  for (let week = 0; week < weeks; week++) {
    const start = weekAt(week).toISOString();
    await pool.query(`select strata.ensure_weeks('balance_changes', $1, $1)`, [start]);
    await pool.query(
      `insert into strata.balance_changes
       select decode(md5((n % 97)::text) || '00000000', 'hex'), n % 5, $1::timestamptz + interval '168 hours' * ((n - 1) / $2::float8), n, n % 3, 1, n * 1.5
         from generate_series(1, $2::int) n`,
      [start, rows],
    );
  }
  await pool.query('analyze strata.balance_changes');
};

/** All rows of a table as one comparable value. */
export const contents = async (pool: Pool, table: string): Promise<string> => {
  const { rows } = await pool.query<{ sum: string }>(
    `select concat(count(*), ':', sum(hash_record_extended(t, 0))) as sum from ${table} t`,
  );
  return rows[0]?.sum ?? '';
};

/** Kinds of the set's partitions, in time order. */
export const kinds = async (pool: Pool, set = 'balance_changes'): Promise<readonly string[]> => {
  const { rows } = await pool.query<{ kind: string }>('select kind from strata.week_info($1)', [set]);
  return rows.map(({ kind }) => kind);
};

/** Tables, functions and triggers of consolidations that lie about, but for what is held. */
export const expectNothingLeft = async (pool: Pool): Promise<void> => {
  const { rows } = await pool.query<{ what: string }>(
    `with held as (select c.consolidation_id, c.week_name, c.week from strata.consolidations c where c.step = 'swapped')
     select c.oid::regclass::text as what from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'strata_held' and c.relkind in ('r', 'p', 'S')
        and c.oid not in (select t.relid from held h, pg_partition_tree(h.week) t)
        and c.relname not in (select h.week_name || '_reverse' from held h)
     union all
     select c.oid::regclass::text from pg_class c
      where c.relname like '%\\_consolidated' and c.relkind = 'r' and not c.relispartition
     union all
     select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'strata_held' and p.proname not in (select h.week_name || '_reverse' from held h)
     union all
     select format('%s on %s', g.tgname, g.tgrelid::regclass) from pg_trigger g
      where g.tgname like 'strata\\_capture%' and g.tgrelid not in (select c.stage from strata.consolidations c where c.step = 'swapped')
     union all
     select format('journal: %s of %s', c.step, c.week_name) from strata.consolidations c where c.finished_at is null and c.step <> 'swapped'
     union all
     select format('index %s', i.indexrelid::regclass) from pg_index i where not i.indisvalid`,
  );
  expect(rows.map(({ what }) => what)).toEqual([]);
};
