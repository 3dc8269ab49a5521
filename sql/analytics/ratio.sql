create or replace function strata.ratio(part numeric, whole numeric, digits int default 18) returns numeric
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
-- Powers of ten by their text: power() loses digits of small ones before PostgreSQL 16.
return div(part * ('1e' || digits::text)::numeric, nullif(whole, 0)) * ('1e-' || digits::text)::numeric;

comment on function strata.ratio(numeric, numeric, int) is
  'part / whole with so many decimals, cut off and not rounded: the same digits for the same numbers, however large. Null where whole is 0.';
