create or replace function strata.rebuild_state() returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  keys bigint;
begin
  if strata.topology() = 'citus' then
    keys := strata.in_shards('rebuild_state');
    update strata.balance_status set stale = false, reason = null, changed_at = statement_timestamp();
    return keys;
  end if;
  delete from strata.account_balances_current;
  insert into strata.account_balances_current (account_address, asset_id, balance, "timestamp")
  select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
    from (
      select account_address, asset_id, balance, "timestamp", true as retained from strata.account_balances
       where "timestamp" >= (select s.opened_before from strata.balance_status s)
      union all
      select account_address, asset_id, balance, "timestamp", false from strata.account_balances_opening
    ) known
   order by account_address, asset_id, retained desc, "timestamp" desc;
  get diagnostics keys = row_count;
  if strata.topology() = 'single' then
    update strata.balance_status set stale = false, reason = null, changed_at = statement_timestamp();
  end if;
  return keys;
end
$$;

comment on function strata.rebuild_state() is
  'Makes account_balances_current anew from the balances and opening rows; returns its keys. Reads all of history: for healing only.';
