create or replace function strata.advance_state(balances regclass, state regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
-- The primary key, read backwards, has the newest row of each key first; to sort all rows again would take three times as long.
set enable_sort = off
set enable_mergejoin = off
as $$
begin
  execute format($state$
    with newest as materialized (
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from %1$s where change_count > 0
       order by account_address desc, asset_id desc, "timestamp" desc
    ), known as (
      update %2$s s set balance = n.balance, "timestamp" = n."timestamp"
        from newest n where s.account_address = n.account_address and s.asset_id = n.asset_id
      returning s.account_address, s.asset_id
    )
    insert into %2$s (account_address, asset_id, balance, "timestamp")
    select n.account_address, n.asset_id, n.balance, n."timestamp"
      from newest n left join known k on k.account_address = n.account_address and k.asset_id = n.asset_id
     where k.asset_id is null
     order by n.account_address, n.asset_id
  $state$, balances, state);
end
$$;

comment on function strata.advance_state(regclass, regclass) is
  'Brings the state (or one partition of it) to the newest rows of a table of balances that are newer than all it knows of their keys.';
