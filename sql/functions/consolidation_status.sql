create or replace function strata.consolidation_status(set_name text)
returns table (
  week_key text, week_start timestamptz, week_end timestamptz, partition_type text, partition_count int, row_count bigint,
  total_size text, total_bytes bigint, due boolean, advice text
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
  s strata.partition_sets := strata.require_set(consolidation_status.set_name);
begin
  return query
    select coalesce(strata.week_key(w.lower_bound), w.partition_name), w.lower_bound, w.upper_bound, strata.partition_type(w.kind), greatest(w.leaves, 1),
           w.row_estimate, pg_size_pretty(w.total_bytes), w.total_bytes,
           w.kind in ('hash', 'list') and coalesce(w.upper_bound <= now() - s.consolidate_after, false),
           case when w.kind <> 'consolidated' then (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(s.set_name, w.partition) o where o.concerns = 'week' limit 1) end
      from strata.week_info(s.set_name) w
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.consolidation_status(text) is
  'Every week of a set: whether it is partitioned or consolidated, its partitions and size, whether it is due by the set''s consolidate_after, and what keeps it from being consolidated. row_count is as of the last ANALYZE.';
