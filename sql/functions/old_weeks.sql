create or replace function strata.old_weeks(set_name text, months int)
returns table (
  partition regclass, week_key text, lower_bound timestamptz, upper_bound timestamptz, kind text, leaves int, row_estimate bigint,
  total_bytes bigint, refusal text
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
  perform strata.require_set(old_weeks.set_name);
  perform strata.require_months(old_weeks.months);
  return query
    select w.partition, coalesce(strata.week_key(w.lower_bound), w.partition_name), w.lower_bound, w.upper_bound, w.kind, w.leaves, w.row_estimate,
           w.total_bytes, (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(old_weeks.set_name, w.partition) o where o.concerns = 'week' limit 1)
      from strata.week_info(old_weeks.set_name) w
     where w.kind not in ('consolidated', 'sharded', 'columnar')
       and (w.upper_bound is null or w.upper_bound <= least(now(), now() - make_interval(months => old_weeks.months)))
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.old_weeks(text, int) is
  'The partitions of a set that ended at least that many months ago and are not consolidated, each with why it cannot be, or null. A partition without bounds is among them, with its advice.';
