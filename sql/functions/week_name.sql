create or replace function strata.week_name(set_name text, instant timestamptz) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, strata, pg_temp
return set_name || '_' || to_char(strata.week_start(instant) at time zone 'UTC', 'YYYY_MM_DD');

comment on function strata.week_name(text, timestamptz) is
  'Name of the partition for the week that holds the instant, for example balance_changes_2026_01_04.';
