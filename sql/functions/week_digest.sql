create or replace function strata.week_digest(rows_of regclass, out row_count bigint, out hash numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set row_security = off
as $$
begin
  execute format('select count(*), coalesce(sum(hashtextextended(row(%s)::text, 0)), 0) from %s t',
    (select string_agg('t.' || quote_ident(a.attname), ', ' order by a.attname) from pg_attribute a
      where a.attrelid = rows_of and a.attnum > 0 and not a.attisdropped), rows_of) into row_count, hash;
end
$$;

comment on function strata.week_digest(regclass) is
  'Row count of a table and the sum of a 64-bit hash of every row''s text: equal for two tables that hold the same rows, in whatever order rows and columns lie.';
