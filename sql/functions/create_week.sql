create or replace function strata.create_week(set_name text, lower_bound timestamptz) returns regclass
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  week regclass := strata.build_week(set_name, lower_bound);
begin
  perform strata.attach_week(set_name, lower_bound, week);
  return week;
end
$$;

comment on function strata.create_week(text, timestamptz) is
  'Creates one week with its hash or list partitions and attaches it; the root gets no more than SHARE UPDATE EXCLUSIVE. Use ensure_weeks(), which serialises callers.';
