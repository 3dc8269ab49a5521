create or replace function strata.period_start(grain text, instant timestamptz) returns timestamptz
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return date_bin(
  case grain when 'hour' then interval '1 hour' when 'day' then interval '1 day' end,
  instant, timestamptz '1970-01-01 00:00:00+00');

comment on function strata.period_start(text, timestamptz) is
  'Start of the period (grain hour or day, UTC) that holds the instant: the "timestamp" of its balance row.';
