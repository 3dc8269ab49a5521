create or replace function strata.fill_leaf(leaf regclass, columns name[], rows text, out filled regclass, out row_count bigint)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  has_rows boolean;
  written  bigint;
begin
  execute format('select exists (select from %s)', leaf) into has_rows;
  if has_rows then
    execute format('insert into %s (%s) %s', leaf, (select string_agg(quote_ident(c), ', ' order by n) from unnest(columns) with ordinality u (c, n)), rows);
    get diagnostics written = row_count;
    filled := leaf;
    row_count := written;
    return;
  end if;
  select b.* into filled, row_count
    from strata.fill_beside(leaf, 'fresh_' || leaf::oid, (select array_to_string(c.reloptions, ', ') from pg_class c where c.oid = leaf), columns, rows) b;
end
$$;

comment on function strata.fill_leaf(regclass, name[], text) is
  'Fills a partition with the rows of a query that yields these columns: beside an empty one, in a table like it but without its indexes, which place_week_partition() puts in its place; or straight into one that has rows. Says which, and how many rows.';
