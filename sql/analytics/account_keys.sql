create or replace function strata.account_keys(account bytea, asset bigint default null) returns setof bigint
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set plan_cache_mode = force_custom_plan
as $$
begin
  if strata.topology() = 'citus' then
    return query select (j #>> '{}')::bigint from strata.in_shards_rows_of(account, 'account_keys', account::text, asset::text) j;
    return;
  end if;
  if not strata.state_is_stale() then
    return query select c.asset_id from strata.account_balances_current c
                  where c.account_address = account and (asset is null or c.asset_id = asset);
    return;
  end if;
  return query
    select distinct h.asset_id
      from (select b.account_address, b.asset_id from strata.account_balances b
            union all
            select o.account_address, o.asset_id from strata.account_balances_opening o) h
     where h.account_address = account and (asset is null or h.asset_id = asset);
end
$$;

comment on function strata.account_keys(bytea, bigint) is
  'The assets that an account has ever had a balance in (one of them, where it is given): from the state, or from history while the state is stale.';
