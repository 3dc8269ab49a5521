create or replace function strata.missing_weeks(set_name text, first_week timestamptz, last_week timestamptz) returns timestamptz[]
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select coalesce(array_agg(week order by week), '{}')
    from generate_series(first_week, last_week, interval '168 hours') week
   where not exists (
     select from strata.set_partitions(missing_weeks.set_name) p
      where p.lower_bound < week + interval '168 hours' and p.upper_bound > week)
     and not exists (
     select from strata.backfill_weeks w
      where missing_weeks.set_name = 'balance_changes' and w.week_start = week and w.state <> 'attached')
     and not exists (
     select from strata.partition_sets s
      where s.set_name = missing_weeks.set_name and week + interval '168 hours' <= s.retained_from);
end;

comment on function strata.missing_weeks(text, timestamptz, timestamptz) is
  'The weeks of a managed set in [first_week, last_week] that no attached partition covers, without those that are being loaded beside the set and those that retention has dropped. Volatile: it must see what others committed while we waited for the lock.';
