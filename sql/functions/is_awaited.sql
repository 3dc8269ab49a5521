create or replace function strata.is_awaited(week oid) returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
  select exists (
    select from pg_locks l
     where l.locktype = 'relation' and not l.granted and l.database = (select d.oid from pg_database d where d.datname = current_database())
       and l.relation in (select t.relid from pg_partition_tree(is_awaited.week::regclass) t));
end;

comment on function strata.is_awaited(oid) is
  'Whether some session waits for a lock on the week or one of its partitions.';
