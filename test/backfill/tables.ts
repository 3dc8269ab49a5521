/** What a warehouse holds and how its weeks are made, to be compared between two ways of loading it. */
import type { Pool } from '../../src/db/query.ts';

const linesOf = async (pool: Pool, statement: string): Promise<string[]> =>
  (await pool.query<{ line: string }>(statement)).rows.map(({ line }) => line).toSorted();

/** Every row of changes, balances and state, as text. */
export const rowsOf = async (pool: Pool): Promise<Record<string, string[]>> => ({
  changes: await linesOf(
    pool,
    'select (c.account_address, c.asset_id, c.block_time, c.block_num, c.ordinal, s.stream, c.delta)::text as line from strata.balance_changes c join strata.sources s using (source_id)',
  ),
  balances: await linesOf(pool, 'select b::text as line from strata.account_balances b'),
  state: await linesOf(pool, 'select c::text as line from strata.account_balances_current c'),
});

/** The weeks of changes and balances: leaves, storage, constraints, indexes and rights, and nothing beside. */
export const shapeOf = (pool: Pool): Promise<string[]> =>
  linesOf(
    pool,
    `select jsonb_build_array(c.relname, c.relkind, c.reloptions, pg_get_expr(c.relpartbound, c.oid), (select p.relname from pg_inherits i join pg_class p on p.oid = i.inhparent where i.inhrelid = c.oid),
        (select jsonb_agg(jsonb_build_array(x.grantee::regrole, x.privilege_type) order by x::text) from aclexplode(c.relacl) x where x.grantee <> c.relowner),
        (select jsonb_agg(jsonb_build_array(k.conname, pg_get_constraintdef(k.oid)) order by k.conname) from pg_constraint k where k.conrelid = c.oid and k.contype <> 'n'),
        (select jsonb_agg(jsonb_build_array(ic.relname, pg_get_indexdef(x.indexrelid), x.indisprimary, x.indisvalid, pc.relname) order by ic.relname)
           from pg_index x join pg_class ic on ic.oid = x.indexrelid
           join pg_inherits xi on xi.inhrelid = ic.oid join pg_class pc on pc.oid = xi.inhparent where x.indrelid = c.oid))::text as line
      from pg_class c where c.relnamespace = 'strata'::regnamespace and c.relkind in ('r', 'p') and c.relname ~ '^(balance_changes_|account_balances_20|fresh)'`,
  );

/** The journal of weeks that were built beside the set. */
export const journalOf = async (
  pool: Pool,
): Promise<readonly { readonly week: string; readonly state: string; readonly folded: string | null }[]> =>
  (
    await pool.query<{ week: string; state: string; folded: string | null }>(
      `select to_char(week_start at time zone 'UTC', 'YYYY-MM-DD') as week, state, folded from strata.backfill_weeks order by week_start`,
    )
  ).rows;
