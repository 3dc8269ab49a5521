create or replace function strata.consolidate_old_weeks(set_name text, months int default 3, dry_run boolean default true)
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
  if coalesce(dry_run, true) then
    return query
      select o.week_key,
             case when o.kind not in ('hash', 'list') then 'SKIPPED' when o.refusal is not null then 'REFUSED' else 'DRY RUN' end,
             e.row_count, o.total_bytes, e.bytes_after, e.predicted_saving,
             coalesce(o.refusal, format('would merge %s partitions with about %s rows, %s into about %s', o.leaves, e.row_count,
                                        pg_size_pretty(o.total_bytes), pg_size_pretty(e.bytes_after)))
        from strata.old_weeks(consolidate_old_weeks.set_name, consolidate_old_weeks.months) o
        left join lateral strata.estimate_week_saving(consolidate_old_weeks.set_name, o.partition) e on o.refusal is null
       order by o.lower_bound nulls last;
    return;
  end if;
  perform strata.require_months(consolidate_old_weeks.months);
  perform strata.lock_maintenance(consolidate_old_weeks.set_name);
  return query
    select o.week_key, 'SKIPPED', null::bigint, o.total_bytes, null::bigint, null::numeric, o.refusal
      from strata.old_weeks(consolidate_old_weeks.set_name, consolidate_old_weeks.months) o where o.kind not in ('hash', 'list');
  return query
    select c.* from strata.consolidate_weeks(consolidate_old_weeks.set_name, array(
      select o.partition from strata.old_weeks(consolidate_old_weeks.set_name, consolidate_old_weeks.months) o
       where o.kind in ('hash', 'list') order by o.lower_bound)) c;
  -- Last, for it locks the parent until the transaction ends.
  perform strata.flatten_weeks(consolidate_old_weeks.set_name);
end
$$;

comment on function strata.consolidate_old_weeks(text, int, boolean) is
  'Consolidates every week of a set that ended at least that many months ago; by default only says what it would do, and how much each week would save. See strata.consolidate_weeks() for who waits.';
