create or replace function strata.state_is_stale() returns boolean
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if (select s.stale from strata.balance_status s) then
    return true;
  end if;
  -- On a cluster each shard looks after its own part, when it folds.
  return strata.topology() = 'single' and strata.state_is_lost();
end
$$;

comment on function strata.state_is_stale() is
  'Whether account_balances_current cannot seed a fold: marked stale, or empty beside balances (truncated, or not restored).';
