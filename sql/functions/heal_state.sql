create or replace function strata.heal_state() returns boolean
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if strata.state_is_stale() then
    -- Held already, but for a state lost since: then this may be a deadlock, which rolls back, and never a wrong balance.
    perform strata.lock_fold();
    if not strata.state_is_stale() then
      return false;
    end if;
    perform strata.rebuild_state();
    return true;
  end if;
  return false;
end
$$;

comment on function strata.heal_state() is
  'Rebuilds the state when it cannot be trusted; says whether it had to. Every fold begins with it.';
