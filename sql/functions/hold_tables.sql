create or replace function strata.hold_tables(week oid) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  part regclass;
begin
  for part in select strata.tables_of(week::regclass) loop
    execute format('alter table %s set schema strata_held', part);
  end loop;
  perform strata.guard_detached(week::regclass);
end
$$;

comment on function strata.hold_tables(oid) is
  'Moves a detached week and its partitions to schema strata_held; their names stay.';
