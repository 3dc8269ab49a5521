create or replace function strata.consolidate_week(set_name text, week text, start_time timestamptz default null, end_time timestamptz default null)
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  w record;
begin
  perform strata.require_set(consolidate_week.set_name);
  select i.* into w from strata.week_info(consolidate_week.set_name) i
   where i.kind in ('hash', 'list', 'consolidated') and strata.week_key(i.lower_bound) = consolidate_week.week;
  if w.partition is null then
    raise exception 'the set % has no week %', consolidate_week.set_name, coalesce(quote_literal(consolidate_week.week), 'null')
      using errcode = 'undefined_object', hint = 'Its weeks: select week_key from strata.consolidation_status(…).';
  end if;
  -- The bounds as instants, or as the dates they read as in UTC, in whatever time zone the caller is.
  if (start_time <> w.lower_bound and start_time::timestamp <> w.lower_bound at time zone 'UTC')
     or (end_time <> w.upper_bound and end_time::timestamp <> w.upper_bound at time zone 'UTC') then
    raise exception 'week % is % to %, not % to %', consolidate_week.week, w.lower_bound, w.upper_bound, start_time, end_time
      using errcode = 'invalid_parameter_value', hint = 'Weeks go from Sunday 00:00 UTC to the next; the bounds may be left out.';
  end if;
  return query select c.* from strata.consolidate_weeks(consolidate_week.set_name, array[w.partition]) c;
end
$$;

comment on function strata.consolidate_week(text, text, timestamptz, timestamptz) is
  'Consolidates one week, given by its key (2026_01_04); the bounds, where given, must be its own. See strata.consolidate_weeks() for who waits.';
