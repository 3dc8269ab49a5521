create or replace function strata.estimate_savings(set_name text, months int default 3)
returns table (
  week_key text, partition_count int, row_count bigint, current_size text, estimated_size text, estimated_savings text,
  bytes_before bigint, bytes_after bigint, predicted_saving numeric
)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
  return query
    select o.week_key, o.leaves, e.row_count, pg_size_pretty(e.bytes_before), pg_size_pretty(e.bytes_after),
           pg_size_pretty(e.bytes_before - e.bytes_after), e.bytes_before, e.bytes_after, e.predicted_saving
      from strata.old_weeks(estimate_savings.set_name, estimate_savings.months) o
     cross join lateral strata.estimate_week_saving(estimate_savings.set_name, o.partition) e
     where o.kind in ('hash', 'list')
     order by o.lower_bound;
end
$$;

comment on function strata.estimate_savings(text, int) is
  'What consolidation would save, week by week, for the weeks that ended at least that many months ago; see strata.estimate_week_saving() for how it is measured.';
