create or replace function strata.rebuild_balances(
  account bytea default null, asset bigint default null, from_time timestamptz default null, folded text default null
) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  since   timestamptz;
  keyed   text := concat(' and account_address = ' || quote_literal(account), ' and asset_id = ' || asset);
  rebuilt bigint;
begin
  if strata.topology() <> 'shard' then
    perform strata.share_gates('account_balances');
    perform strata.lock_fold();
  end if;
  -- Asked under the lock: retention may have dropped weeks while we waited for it.
  since := date_bin(interval '1 day', greatest(from_time, (select greatest(s.opened_before, s.changes_from) from strata.balance_status s)),
                    timestamptz '1970-01-01 00:00:00+00');  -- a whole period of either grain
  if strata.topology() = 'citus' then
    rebuilt := strata.in_shards('rebuild_balances', account::text, asset::text, since::text, strata.folded_predicate('c'));
    if account is null and asset is null then
      update strata.balance_status set stale = false, reason = null, changed_at = statement_timestamp();
    end if;
    return rebuilt + strata.rebuild_observed(account, asset, from_time);
  end if;
  -- Observed balances have no changes to be made from again: rebuild_observed() makes them from their snapshots.
  execute format('delete from strata.account_balances where "timestamp" >= %L%s
                     and asset_id not in (select a.asset_id from strata.assets a where a.observed)', since, keyed);
  execute format($rebuild$
    insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
    select account_address, asset_id, "timestamp", balance, change_count
      from strata.recompute_balances(%L, %L, %L, 1, %L)
     order by account_address, asset_id, "timestamp"
  $rebuild$, account, asset, since, folded);
  get diagnostics rebuilt = row_count;
  if account is null and asset is null then
    perform strata.rebuild_state();
  else
    execute format('delete from strata.account_balances_current where true%s', keyed);
    execute format($state$
      insert into strata.account_balances_current (account_address, asset_id, balance, "timestamp")
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from (
          select account_address, asset_id, balance, "timestamp", true as retained from strata.account_balances
           where "timestamp" >= (select s.opened_before from strata.balance_status s)%1$s
          union all
          select account_address, asset_id, balance, "timestamp", false from strata.account_balances_opening where true%1$s
        ) known
       order by account_address, asset_id, retained desc, "timestamp" desc
    $state$, keyed);
  end if;
  if strata.topology() = 'single' then
    rebuilt := rebuilt + strata.rebuild_observed(account, asset, from_time);
  end if;
  return rebuilt;
end
$$;

comment on function strata.rebuild_balances(bytea, bigint, timestamptz, text) is
  'Recomputes balances from the changes: of one account, of one asset, of both or of everything, from an instant on; the state follows. Observed balances are derived again from their snapshots. Returns the rows written. folded: for a shard, see recompute_balances().';
