create or replace function strata.drop_prefilled() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  prefilled regclass;
begin
  for prefilled in
    select c.oid::regclass from pg_class c
     where c.relnamespace = 'strata'::regnamespace and c.relkind = 'r' and not c.relispartition and c.relname ~ '^fresh_\d+_\d+$'
  loop
    execute format('drop table %s', prefilled);
  end loop;
end
$$;

comment on function strata.drop_prefilled() is
  'Drops what prefill_week_partition() has made for transactions that have not taken it: broken off, or with rows behind the week.';
