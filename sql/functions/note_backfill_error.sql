create or replace function strata.note_backfill_error(week_start timestamptz, error text) returns void
language sql security definer
set search_path = pg_catalog, strata, pg_temp
begin atomic
  update strata.backfill_weeks w set error = note_backfill_error.error
   where w.week_start = note_backfill_error.week_start and w.state <> 'attached';
end;

comment on function strata.note_backfill_error(timestamptz, text) is
  'Writes down why a week could not be keyed or attached.';
