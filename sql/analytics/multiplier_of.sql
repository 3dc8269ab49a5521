create or replace function strata.multiplier_of(curve jsonb, usd numeric) returns numeric
language plpgsql immutable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  lower record;
  upper record;
begin
  if jsonb_typeof(curve) is distinct from 'array' or jsonb_array_length(curve) = 0
     or exists (select from jsonb_array_elements(curve) p
                 where jsonb_typeof(p -> 'usd') is distinct from 'number' or jsonb_typeof(p -> 'multiplier') is distinct from 'number') then
    raise exception 'the multiplier curve is no list of points' using errcode = 'invalid_parameter_value',
      hint = 'Write it as [{"usd": 0, "multiplier": 0.5}, {"usd": 1000, "multiplier": 1}].';
  end if;
  select (p ->> 'usd')::numeric as usd, (p ->> 'multiplier')::numeric as multiplier into lower
    from jsonb_array_elements(curve) p where (p ->> 'usd')::numeric <= multiplier_of.usd order by 1 desc limit 1;
  select (p ->> 'usd')::numeric as usd, (p ->> 'multiplier')::numeric as multiplier into upper
    from jsonb_array_elements(curve) p where (p ->> 'usd')::numeric > multiplier_of.usd order by 1 limit 1;
  return case
    when lower.usd is null then upper.multiplier
    when upper.usd is null then lower.multiplier
    else lower.multiplier + strata.ratio((upper.multiplier - lower.multiplier) * (multiplier_of.usd - lower.usd), upper.usd - lower.usd)
  end;
end
$$;

comment on function strata.multiplier_of(jsonb, numeric) is
  'The multiplier that a curve of points gives for a USD value: on the straight line between its two neighbours, level below the first and above the last.';
