create or replace function strata.consolidation_report(set_name text)
returns table (metric text, value text)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  s strata.partition_sets := strata.require_set(consolidation_report.set_name);
begin
  return query
    with weeks as (
      select count(*) filter (where w.partition_type like '%PARTITIONED') as parted,
             count(*) filter (where w.partition_type = 'CONSOLIDATED') as merged,
             coalesce(sum(w.partition_count) filter (where w.partition_type like '%PARTITIONED'), 0) as parted_tables,
             coalesce(sum(w.partition_count) filter (where w.partition_type = 'CONSOLIDATED'), 0) as merged_tables,
             count(*) filter (where w.partition_type not like '%PARTITIONED' and w.partition_type <> 'CONSOLIDATED') as others,
             count(*) filter (where w.due) as due,
             coalesce(sum(w.total_bytes), 0) as bytes
        from strata.consolidation_status(s.set_name) w
    ), journal as (
      select count(*) filter (where c.step = 'failed' and c.started_at > now() - interval '7 days') as failed,
             max(c.swapped_at) filter (where c.step <> 'undone') as latest,
             coalesce(sum(c.bytes_before - c.bytes_after) filter (where c.swapped_at is not null and c.step <> 'undone'), 0) as saved
        from strata.consolidations c where c.set_name = s.set_name
    ), held as (
      select count(*) as weeks, coalesce(sum(h.bytes), 0) as bytes
        from strata.held_partitions h where h.set_name = s.set_name and h.finished_at is null
    )
    select m.metric, m.value
      from weeks w, journal j, held h,
           lateral (values
             (1, 'hash_partitioned_weeks', w.parted::text),
             (2, 'consolidated_weeks', w.merged::text),
             (3, 'total_hash_partitions', w.parted_tables::text),
             (4, 'total_consolidated_partitions', w.merged_tables::text),
             (5, 'other_partitions', w.others::text),
             (6, 'weeks_due', w.due::text),
             (7, 'total_size', pg_size_pretty(w.bytes)),
             (8, 'saved_by_consolidation', pg_size_pretty(j.saved)),
             (9, 'held_weeks', h.weeks::text),
             (10, 'held_size', pg_size_pretty(h.bytes)),
             (11, 'last_consolidation', coalesce(j.latest::text, 'never')),
             (12, 'failures_last_7_days', j.failed::text)
           ) m(place, metric, value)
     order by m.place;
end
$$;

comment on function strata.consolidation_report(text) is
  'A set in twelve figures: weeks still partitioned and consolidated, their tables, what is due, saved, held and failed. List partitions are counted as hash partitions are.';
