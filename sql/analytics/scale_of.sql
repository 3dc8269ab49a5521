create or replace function strata.scale_of(asset bigint) returns numeric
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  -- By its text: power() loses digits of small powers before PostgreSQL 16.
  return ('1e-' || coalesce((select a.decimals from strata.assets a where a.asset_id = asset), 0)::text)::numeric;
end
$$;

comment on function strata.scale_of(bigint) is
  'What a balance of the asset is multiplied with to be an amount in whole units: 10 to the power of its decimals, inverted; 1 while they are unknown.';
