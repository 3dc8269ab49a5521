create or replace function strata.tables_of(relation regclass) returns setof regclass
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  -- pg_partition_tree() knows no tree of a plain table that is no partition (any more).
  select t.relid from pg_partition_tree(tables_of.relation) t
  union all
  select tables_of.relation where not exists (select from pg_partition_tree(tables_of.relation))
$$;

comment on function strata.tables_of(regclass) is
  'A table and its partitions, the table first; a plain table, attached or not, is alone.';
