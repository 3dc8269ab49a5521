create or replace function strata.week_key(instant timestamptz) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, strata, pg_temp
return to_char(strata.week_start(instant) at time zone 'UTC', 'YYYY_MM_DD');

comment on function strata.week_key(timestamptz) is
  'Key of the week that holds the instant, as it stands in partition names: 2026_01_04.';
