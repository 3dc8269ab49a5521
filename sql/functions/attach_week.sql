create or replace function strata.attach_week(set_name text, lower_bound timestamptz, week regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
begin
  execute format('alter table %s attach partition %s for values from (%L) to (%L)',
    (select s.parent from strata.partition_sets s where s.set_name = attach_week.set_name), week, lower_bound, lower_bound + interval '168 hours');
end
$$;

comment on function strata.attach_week(text, timestamptz, regclass) is
  'Makes a week that build_week() has made a part of its set. The root gets SHARE UPDATE EXCLUSIVE and nothing is scanned, where the week has the indexes of the set.';
