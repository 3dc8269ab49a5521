create or replace function strata.partition_bounds(
  part regclass, out lower_bound timestamptz, out upper_bound timestamptz, out is_default boolean
)
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  bound text;
  edges text[];
begin
  select pg_get_expr(relpartbound, oid) into bound from pg_class where oid = part;
  is_default := bound = 'DEFAULT';
  edges := regexp_match(bound, '^FOR VALUES FROM \((MINVALUE|''([^'']+)'')\) TO \((MAXVALUE|''([^'']+)'')\)$');
  lower_bound := case when edges[1] = 'MINVALUE' then '-infinity' else edges[2] end;
  upper_bound := case when edges[3] = 'MAXVALUE' then 'infinity' else edges[4] end;
end
$$;

comment on function strata.partition_bounds(regclass) is
  'Bounds of a range partition, lower inclusive, upper exclusive, read from the catalog and never from its name; null for a table that is no range partition on one timestamptz column.';
