create or replace function strata.sample_statement(week regclass, pages_max int default 96) returns text
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  run_pages constant int := 4;
  columns   text;
  leaf      record;
  runs      int;
  pieces    text[] := '{}';
begin
  select string_agg('t.' || c, ', ' order by place) into columns from unnest(strata.packed_columns(week)) with ordinality p(c, place);
  for leaf in
    select t.relid, (pg_relation_size(t.relid) / current_setting('block_size')::int)::bigint as pages from pg_partition_tree(week) t where t.isleaf
  loop
    if leaf.pages <= pages_max then
      pieces := pieces || format('select 1::float8 as strata_weight, pg_column_size(row(%s)) as strata_bytes, %s from only %s t', columns, columns, leaf.relid);
      continue;
    end if;
    runs := pages_max / run_pages;
    pieces := pieces || array(
      select format('select %s::float8 as strata_weight, pg_column_size(row(%s)) as strata_bytes, %s from only %s t where t.ctid >= ''(%s,0)'' and t.ctid < ''(%s,0)''',
                    leaf.pages::float8 / (runs * run_pages), columns, columns, leaf.relid, first, first + run_pages)
        from (select leaf.pages * run / runs as first from generate_series(0, runs - 1) run) r);
  end loop;
  return array_to_string(pieces, E'\nunion all ');
end
$$;

comment on function strata.sample_statement(regclass, int) is
  'A query for a sample of a week''s rows: every live row of up to pages_max pages of each partition, taken in runs all over it, with what one row stands for (strata_weight) and its bytes in a heap whose columns are packed (strata_bytes). Counts are then true even where dead rows and empty pages lie between.';
