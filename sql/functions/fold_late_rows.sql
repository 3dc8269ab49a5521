create or replace function strata.fold_late_rows(earliest timestamptz, until timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set enable_hashjoin = off
set enable_nestloop = on
as $$
declare
  walked text := '';
  dense  boolean;
begin
  -- Since PostgreSQL 17 a list of keys takes one walk along an index, at about the fortieth part of a look-up per row passed:
  -- for many keys in small weeks that is half the time. Before, each pair of the two lists would be looked up.
  select sum(pg_relation_size(t.relid)) / 100 < 40 * count(distinct w.partition)
                                                * (select count(*) from (select distinct account_address, asset_id from pg_temp.late_periods) k)
    into dense
    from strata.parts_of('strata.account_balances') w cross join lateral pg_partition_tree(w.partition) t
   where w.upper_bound > earliest and w.lower_bound < until;
  if dense and current_setting('server_version_num')::int >= 170000 then
    walked := 'and b.account_address = any ((select array_agg(distinct account_address) from pg_temp.late_periods)::bytea[])
       and b.asset_id = any ((select array_agg(distinct asset_id) from pg_temp.late_periods)::bigint[])';
    perform set_config('enable_hashjoin', 'on', true), set_config('enable_nestloop', 'off', true);
  end if;

  -- The bounds are literals, so that the weeks before the earliest period are pruned when the statement is planned.
  execute format($fold$
    with late as materialized (
      select * from pg_temp.late_periods order by account_address, asset_id, period
    )
    update strata.account_balances b
       set balance = b.balance + l.running,
           change_count = b.change_count + case when b."timestamp" = l.period then l.change_count else 0 end
      from late l
     where b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" >= %1$L and b."timestamp" >= l.period
       and (l.next_period is null or b."timestamp" < l.next_period) and b."timestamp" < %2$L %3$s
  $fold$, earliest, until, walked);
end
$$;

comment on function strata.fold_late_rows(timestamptz, timestamptz) is
  'The part of fold_late_deltas() that adds to the rows from the first touched period of a key on what lies at or before them.';
