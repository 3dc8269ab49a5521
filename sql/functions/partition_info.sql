create or replace function strata.partition_info(set_name text)
returns table (
  schemaname text, tablename text, week_key text, week_start timestamptz, week_end timestamptz, partition_type text,
  row_count bigint, size text, size_bytes bigint, index_bytes bigint
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  perform strata.require_set(partition_info.set_name);
  return query
    select n.nspname::text, leaf.relname::text, strata.week_key(w.lower_bound), w.lower_bound, w.upper_bound, strata.partition_type(w.kind),
           case when leaf.reltuples >= 0 then leaf.reltuples::bigint end,
           pg_size_pretty(pg_total_relation_size(leaf.oid)), pg_total_relation_size(leaf.oid), pg_indexes_size(leaf.oid)
      from strata.week_info(partition_info.set_name) w
     cross join lateral pg_partition_tree(w.partition) t
      join pg_class leaf on leaf.oid = t.relid
      join pg_namespace n on n.oid = leaf.relnamespace
     where t.isleaf
     order by w.lower_bound nulls last, leaf.relname;
end
$$;

comment on function strata.partition_info(text) is
  'Every table of a set that holds rows, in time order, with its week and sizes. row_count is as of the last ANALYZE, null before it.';
