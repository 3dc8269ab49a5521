create or replace function strata.make_weeks_writable(set_name text, from_time timestamptz) returns int
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  week   regclass;
  turned int := 0;
begin
  for week in
    select w.partition from strata.week_info(make_weeks_writable.set_name) w
     where w.kind = 'columnar' and w.upper_bound > from_time order by w.lower_bound
  loop
    perform strata.store_week(make_weeks_writable.set_name, week, 'heap');
    turned := turned + 1;
  end loop;
  return turned;
end
$$;

comment on function strata.make_weeks_writable(text, timestamptz) is
  'Turns the weeks from this instant on that are stored by column back, because rows can be deleted only where they are stored row by row; returns how many. A reorg that deep calls it: security definer, for a loader may turn weeks back and not store them by column.';
