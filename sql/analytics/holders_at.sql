create or replace function strata.holders_at(asset bigint, instant timestamptz default null)
returns table (account_address bytea, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return query
    select b.account_address, b.balance
      from strata.balances_at(instant, strata.require_asset(asset)) b
     where b.balance > 0 and not exists (select from strata.burn_accounts n where n.account_address = b.account_address);
end
$$;

comment on function strata.holders_at(bigint, timestamptz) is
  'Accounts with a positive balance of an asset as of an instant (or the newest), without the null and burn accounts.';
