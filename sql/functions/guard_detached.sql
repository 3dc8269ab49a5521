create or replace function strata.guard_detached(week regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  part regclass;
begin
  if strata.is_distributed(week) then
    return;  -- Citus has no triggers on its tables
  end if;
  for part in select strata.tables_of(week) loop
    execute format('create or replace trigger strata_detached before insert or update or delete or truncate on %s for each statement execute function strata.refuse_detached()', part);
  end loop;
end
$$;

comment on function strata.guard_detached(regclass) is
  'Refuses further writes to a week that is taken out, and to its partitions: see refuse_detached().';
