create or replace function strata.ratio(part numeric, whole numeric, digits int default 18) returns numeric
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return div(part * power(10::numeric, digits), nullif(whole, 0)) * trim_scale(power(10::numeric, -digits));

comment on function strata.ratio(numeric, numeric, int) is
  'part / whole with so many decimals, cut off and not rounded: the same digits for the same numbers, however large. Null where whole is 0.';
