create or replace function strata.build_consolidated(set_name text, week regclass) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set row_security = off
set work_mem = '64MB'
as $$
declare
  s          strata.partition_sets := strata.require_set(set_name);
  w          record;
  stage      text;
  columns    text;
  heap_key   text;
  estimate   record;
  source     record;
  copied     record;
  definition text;
  id         bigint;
begin
  select i.*, n.nspname into strict w
    from strata.week_info(set_name) i join pg_class c on c.oid = i.partition join pg_namespace n on n.oid = c.relnamespace
   where i.partition = build_consolidated.week;
  perform strata.lock_week(week);
  select * into estimate from strata.estimate_week_saving(set_name, week);

  stage := format('%I.%I', w.nspname, w.partition_name || '_consolidated');
  perform strata.create_stage(week, stage);
  if not exists (select from pg_constraint c where c.conrelid = stage::regclass and c.conname = w.partition_name || '_bounds') then
    -- With a CHECK that equals its bounds the table is attached without a scan.
    execute format('alter table %1$s add constraint week_bounds check (%2$I >= %3$L and %2$I < %4$L)', stage, s.time_column, w.lower_bound, w.upper_bound);
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
    from pg_attribute a where a.attrelid = week and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
  select string_agg(pg_get_indexdef(i.indexrelid, k::int, true), ', ' order by k) into heap_key
    from pg_index i, generate_series(1, i.indnkeyatts) k where i.indrelid = week and i.indisprimary;
  heap_key := coalesce(heap_key, format('%I, %I', s.hash_column, s.time_column));
  if s.heap_order = 'time' then
    -- In slices: strict time order would scatter an account over as many pages as it has rows.
    heap_key := format('date_bin(interval ''10 hours'', %I, %L::timestamptz), %s', s.time_column, w.lower_bound, heap_key);
  end if;
  execute format('insert into %1$s (%2$s) select %2$s from %3$s order by %4$s', stage, columns, week, heap_key);

  perform strata.build_indexes_like(s.parent, stage::regclass, packed => true);
  for definition in
    select pg_get_constraintdef(c.oid) from pg_constraint c where c.conrelid = s.parent and c.contype = 'f' and c.conparentid = 0
  loop
    execute format('alter table %s add %s', stage, definition);
  end loop;

  select d.* into source from strata.week_digest(week) d;
  select d.* into copied from strata.week_digest(stage::regclass) d;
  if source is distinct from copied then
    raise exception '% has % rows with hash %, its copy % with hash %', week, source.row_count, source.hash, copied.row_count, copied.hash
      using errcode = 'data_corrupted', hint = 'Nothing was changed. Look for a trigger or a rule that alters rows on their way.';
  end if;
  perform strata.copy_properties(week, stage::regclass);
  execute format('analyze %s', stage);

  insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage, stage_name, heap_order,
                                     row_count, bytes_before, bytes_after, predicted_saving, actual_saving, proof)
  select s.set_name, w.lower_bound, w.upper_bound, 'transaction', 'verified', week, w.partition_name, stage::regclass, w.partition_name || '_consolidated',
         s.heap_order, copied.row_count, w.total_bytes, size.bytes, estimate.predicted_saving, round(1 - size.bytes::numeric / nullif(w.total_bytes, 0), 4),
         jsonb_build_object('rows', copied.row_count, 'hash', copied.hash::text, 'rows_before', source.row_count, 'hash_before', source.hash::text)
    from (select pg_total_relation_size(stage::regclass) as bytes) size
  returning consolidation_id into id;
  return id;
end
$$;

comment on function strata.build_consolidated(text, regclass) is
  'First half of consolidating a week in one transaction: copies it, in the set''s heap_order, into <week>_consolidated with every index and constraint of the parent, proves the copy by count and hash, and journals it. From the start until the end of the transaction the writers of this week wait; nobody else does. Returns the consolidation_id for swap_consolidated().';
