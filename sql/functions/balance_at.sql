create or replace function strata.balance_at(account bytea, asset bigint, instant timestamptz) returns numeric
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
-- A cluster's coordinator writes instants as its session does, and the workers read ISO.
set datestyle = 'ISO'
set plan_cache_mode = force_custom_plan
-- Weeks are pruned by their bounds; to test the CHECKs that prove them takes a fifth of the planning.
set constraint_exclusion = off
as $$
declare
  of_asset record;
  period   timestamptz;
  dropped  timestamptz;
  last     record;
  ends     timestamptz;
  latest   numeric;
  within   numeric := 0;
  changes  bigint := 0;
begin
  select a.grain, a.observed into of_asset from strata.assets a where a.asset_id = asset;
  period := strata.period_start(of_asset.grain, instant);
  select case when of_asset.observed then s.observations_from else s.changes_from end into dropped from strata.balance_status s;
  select l.balance, l."timestamp" into last from strata.last_balance(account, asset, instant + interval '1 microsecond') l;
  -- A late row may have made an old week anew, without the changes that were dropped with it.
  if period is null or dropped > period then
    return coalesce(last.balance, 0);  -- exact to the period, not to the instant
  end if;
  if of_asset.observed then
    select r.balance into latest from strata.snapshot_rows r
     where r.account_address = account and r.asset_id = asset and r.observed_at between period and instant
     order by r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc limit 1;
    if latest is not null then
      return latest;
    end if;
  else
    select coalesce(sum(c.delta), 0), count(*) into within, changes from strata.balance_changes c
     where c.account_address = account and c.asset_id = asset and c.block_time between period and instant;
  end if;
  if last."timestamp" = period then
    if changes = 0 then
      -- Either the period's changes all came later, or they are gone with their week.
      ends := period + case of_asset.grain when 'hour' then interval '1 hour' else interval '24 hours' end;
      if of_asset.observed then
        perform from strata.snapshot_rows r
          where r.account_address = account and r.asset_id = asset and r.observed_at > instant and r.observed_at < ends limit 1;
      else
        perform from strata.balance_changes c
          where c.account_address = account and c.asset_id = asset and c.block_time > instant and c.block_time < ends limit 1;
      end if;
      if not found then
        return last.balance;
      end if;
    end if;
    select l.balance into last.balance from strata.last_balance(account, asset, period) l;
  end if;
  return coalesce(last.balance, 0) + within;
end
$$;

comment on function strata.balance_at(bytea, bigint, timestamptz) is
  'Balance of an account in an asset at an instant, its changes at that very instant included: the last period before, plus the changes since; of an observed balance the last snapshot. Where those changes or snapshots are no longer retained it is the balance at the end of the period.';
