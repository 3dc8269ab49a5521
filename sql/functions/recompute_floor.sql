create or replace function strata.recompute_floor() returns timestamptz
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select greatest(s.opened_before, s.changes_from) from strata.balance_status s;
end;

comment on function strata.recompute_floor() is
  'The instant from which balances can be recomputed from changes: earlier balances or changes were dropped by retention. -infinity while nothing was.';
