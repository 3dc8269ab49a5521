create or replace function strata.state_is_stale() returns boolean
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if (select s.stale from strata.balance_status s) then
    return true;
  end if;
  -- In two steps: a statement that names account_balances locks every week, and each fold comes through here.
  if exists (select from strata.account_balances_current) then
    return false;
  end if;
  return exists (select from strata.account_balances) or exists (select from strata.account_balances_opening);
end
$$;

comment on function strata.state_is_stale() is
  'Whether account_balances_current cannot seed a fold: marked stale, or empty beside balances (truncated, or not restored).';
