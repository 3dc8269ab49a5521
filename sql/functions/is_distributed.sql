create or replace function strata.is_distributed(relation oid) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  found boolean;
begin
  if to_regclass('pg_catalog.pg_dist_partition') is null then
    return false;
  end if;
  execute 'select exists (select from pg_dist_partition p where p.logicalrelid = $1)' into found using relation;
  return found;
end
$$;

comment on function strata.is_distributed(oid) is
  'Whether a table lies on the nodes of a Citus cluster; false wherever there is none.';
