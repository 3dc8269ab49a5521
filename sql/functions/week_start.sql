create or replace function strata.week_start(instant timestamptz) returns timestamptz
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return date_bin(interval '7 days', instant, timestamptz '1900-01-07 00:00:00+00');

comment on function strata.week_start(timestamptz) is
  'Start of the week (Sunday 00:00 UTC) that holds the instant, in any session time zone.';
