create or replace function strata.state_reaches(state regclass, instant timestamptz, own text default 'true') returns boolean
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  reaches boolean;
begin
  execute format($check$
    select exists (
      select from %3$s s join strata.assets a on a.asset_id = s.asset_id and not a.observed
       where s."timestamp" >= %1$L and %2$s)
  $check$, instant, own, state) into reaches;
  return reaches;
end
$$;

comment on function strata.state_reaches(regclass, timestamptz, text) is
  'Whether a partition of the state, or those rows of it that own says, knows a balance at or behind an instant.';
