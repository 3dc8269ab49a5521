create or replace function strata.balance_at(account bytea, asset bigint, instant timestamptz) returns numeric
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  observed boolean := coalesce((select a.observed from strata.assets a where a.asset_id = asset), false);
  period   timestamptz := strata.period_start((select a.grain from strata.assets a where a.asset_id = asset), instant);
  floor    timestamptz;
  dropped  timestamptz;
  opened   timestamptz;
  result   numeric;
  within   numeric;
begin
  select min(p.lower_bound) into floor from strata.set_partitions(case when observed then 'snapshot_rows' else 'balance_changes' end) p;
  select case when observed then s.observations_from else s.changes_from end, s.opened_before into dropped, opened
    from strata.balance_status s;
  -- A late row may have made an old week anew, without the changes that were dropped with it.
  if floor is null or greatest(floor, dropped) > period then
    period := instant + interval '1 microsecond';  -- changes of that time are gone: exact to the period, not to the instant
  end if;
  if observed then
    execute format($read$
      select r.balance from strata.snapshot_rows r
       where r.account_address = %L and r.asset_id = %s and r.observed_at between %L and %L
       order by r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc limit 1
    $read$, account, asset, period, instant) into result;
    if result is not null then
      return result;
    end if;
  end if;
  execute format($read$
    select coalesce(
      (select b.balance from strata.account_balances b
        where b.account_address = %1$L and b.asset_id = %2$s and b."timestamp" < %3$L
          and b."timestamp" >= %5$L order by b."timestamp" desc limit 1),
      (select o.balance from strata.account_balances_opening o
        where o.account_address = %1$L and o.asset_id = %2$s and o."timestamp" < %3$L),
      0),
      (select coalesce(sum(c.delta), 0) from strata.balance_changes c
        where c.account_address = %1$L and c.asset_id = %2$s and c.block_time between %3$L and %4$L)
  $read$, account, asset, period, instant, case when period >= opened then opened else '-infinity' end) into result, within;
  return result + within;
end
$$;

comment on function strata.balance_at(bytea, bigint, timestamptz) is
  'Balance of an account in an asset at an instant, its changes at that very instant included: the last period before, plus the changes since; of an observed balance the last snapshot. Where those changes or snapshots are no longer retained it is the balance at the end of the period.';
