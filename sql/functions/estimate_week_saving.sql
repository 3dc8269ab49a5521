create or replace function strata.estimate_week_saving(
  set_name text, week regclass, out row_count bigint, out bytes_before bigint, out bytes_after bigint, out predicted_saving numeric
)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set row_security = off
as $$
declare
  s           strata.partition_sets := strata.require_set(set_name);
  page        constant int := current_setting('block_size')::int;
  sample      text := strata.sample_statement(week);
  parts       int;
  toast       bigint;
  heap        float8;
  wide        text;
  total       float8;
  estimate    float8;
  index       record;
begin
  select count(*), coalesce(sum(pg_total_relation_size(t.relid)), 0),
         coalesce(sum(pg_total_relation_size(c.reltoastrelid)) filter (where c.reltoastrelid <> 0), 0)
    into parts, bytes_before, toast
    from pg_partition_tree(week) t join pg_class c on c.oid = t.relid where t.isleaf;

  -- In the heap: what a row takes there now, to the next 8 bytes, and 4 for its pointer; of one whose values lie outside only their pointers.
  select string_agg(format('case when pg_column_size(%1$I) > 2000 then 18 else coalesce(pg_column_size(%1$I), 0) end', a.attname), ' + ') into wide
    from pg_attribute a where a.attrelid = week and a.attnum > 0 and not a.attisdropped;
  execute format('select coalesce(sum(strata_weight), 0), sum(strata_weight * (4 + 8 * ceil((case when strata_bytes <= 2040 then strata_bytes else 28 + %s end) / 8.0))) from (%s) t',
    wide, sample) into total, heap;
  row_count := round(total);
  estimate := case when total > 0 then page * ceil(heap / (page - 24 - heap / total / 2)) else 0 end;
  if estimate > 4 * page then
    estimate := estimate + page * (2 + ceil(estimate / page / 4000));  -- the free space map
  end if;
  estimate := estimate + greatest(toast - (parts - 1) * page, case when toast > 0 then page else 0 end);

  for index in select i.indexrelid::regclass as name from pg_index i where i.indrelid = s.parent loop
    estimate := estimate + strata.estimate_index(index.name, week, sample);
  end loop;
  bytes_after := round(estimate);
  predicted_saving := round((1 - bytes_after::numeric / nullif(bytes_before, 0)), 4);
end
$$;

comment on function strata.estimate_week_saving(text, regclass) is
  'What consolidating a week would save, from measurement: sampled pages give the live rows, their bytes in the heap and the bytes of their keys in each index of the parent; rebuilt full, that is bytes_after, against the files as they are, bytes_before. Dead rows, half-empty pages, fillfactor and indexes that the parent does not have are what is saved. predicted_saving is a share, 0 to 1; below 0 where the copy would be bigger.';
