create or replace function strata.partition_distribution(set_name text)
returns table (
  week_key text, tablename text, row_count bigint, size_bytes bigint, row_share numeric, expected_share numeric, skewed boolean
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  perform strata.require_set(partition_distribution.set_name);
  return query
    select strata.week_key(w.lower_bound), leaf.relname::text, size.rows, pg_total_relation_size(leaf.oid),
           round(size.rows / nullif(sum(size.rows) over of_week, 0), 4), round(1.0 / count(*) over of_week, 4),
           coalesce(w.kind = 'hash' and size.rows > 1.5 * avg(size.rows) over of_week and sum(size.rows) over of_week > 10000, false)
      from strata.week_info(partition_distribution.set_name) w
      join pg_inherits i on i.inhparent = w.partition
      join pg_class leaf on leaf.oid = i.inhrelid
     cross join lateral (select case when leaf.reltuples >= 0 then leaf.reltuples::bigint end) size(rows)
     where w.kind in ('hash', 'list')
    window of_week as (partition by w.partition)
     order by w.lower_bound, leaf.relname;
end
$$;

comment on function strata.partition_distribution(text) is
  'How the rows of each week spread over its partitions, by the counts of the last ANALYZE. skewed: a hash partition with more than one and a half times its fair share in a week of more than 10,000 rows; few accounts then own most rows, and more hash partitions will not help. List partitions follow their groups and are never called skewed.';
