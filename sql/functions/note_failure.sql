create or replace function strata.note_failure(set_name text, week regclass, error text) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  id bigint;
begin
  insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage_name, heap_order, error, finished_at)
  select note_failure.set_name, coalesce(b.lower_bound, '-infinity'), coalesce(b.upper_bound, 'infinity'), 'transaction', 'failed', c.oid, c.relname,
         c.relname || '_consolidated', s.heap_order, note_failure.error, clock_timestamp()
    from pg_class c cross join lateral strata.partition_bounds(c.oid) b cross join strata.require_set(note_failure.set_name) s
   where c.oid = week
  returning consolidation_id into id;
  return id;
end
$$;

comment on function strata.note_failure(text, regclass, text) is
  'Journals a consolidation that failed before it had an entry of its own.';
