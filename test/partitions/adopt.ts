/** Plain tables as users have them, ready to be adopted, and what an adoption must leave behind: nothing. */
import { expect } from 'vitest';
import type { Pool } from '../../src/db/query.ts';

const FIRST = '2024-01-15T00:00:00Z';

/** Balances with a key of all that matters: nothing of it has to be extended. */
export const BALANCES = `create table public.account_balances (
  "timestamp" timestamptz not null, account_address varchar(255) not null, usd_value decimal(18,2) not null,
  activity_id text not null, data jsonb not null,
  primary key (account_address, "timestamp", activity_id));
create index account_balances_activity on public.account_balances (activity_id, "timestamp")`;

/** Fills it with so many rows over three and a half weeks. */
export const fillBalances = async (pool: Pool, rows: number): Promise<void> => {
  await pool.query(
    `insert into public.account_balances
     select $1::timestamptz + interval '1 hour' * (n % 580), 'rdx1' || md5((n % 53)::text), n * 1.25, 'activity_' || (n / 30740), jsonb_build_object('n', n)
       from generate_series(1, $2::int) n`,
    [FIRST, rows],
  );
  await pool.query('analyze public.account_balances');
};

/** Tables, functions, triggers and journal rows of adoptions that lie about, but for what is held. */
export const expectNoAdoptionLeft = async (pool: Pool): Promise<void> => {
  const { rows } = await pool.query<{ what: string }>(
    `with held as (select a.set_name, a.adoption ->> 'tableName' as name from strata.adoptions a where a.step = 'swapped')
     select c.oid::regclass::text as what from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'strata_held' and c.relkind in ('r', 'p')
        and c.relname not in (select h.name from held h union all select h.set_name || '_adopted' from held h)
     union all
     select c.oid::regclass::text from pg_class c where c.relname like '%\\_adopting%'
     union all
     select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'strata_held' and p.proname not in (select h.set_name || '_adopted' from held h)
     union all
     select format('%s on %s', g.tgname, g.tgrelid::regclass) from pg_trigger g
      where g.tgname like 'strata\\_%' and not exists (select from held)
     union all
     select format('journal: %s of %s', a.step, a.set_name) from strata.adoptions a where a.finished_at is null and a.step <> 'swapped'
     union all
     select format('set %s without a table of its name', s.set_name) from strata.partition_sets s where s.parent::text like '%adopting%'
     union all
     select format('week %s', c.oid::regclass) from pg_class c
      where c.relname ~ '_\\d{4}_\\d{2}_\\d{2}(_hash_\\d+)?$' and c.relkind in ('r', 'p') and not c.relispartition`,
  );
  expect(rows.map(({ what }) => what)).toEqual([]);
};
