create or replace function strata.lock_week(week regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  tries constant int := 50;
begin
  for try in 1 .. tries loop
    -- A writer of this week that waits for a week we hold already: to wait for it in turn would be a deadlock, and might end it, not us.
    if exists (
      select from pg_locks l
       where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
         and l.database = (select d.oid from pg_database d where d.datname = current_database())
         and l.relation in (select t.relid from pg_partition_tree(week) t) and pg_backend_pid() = any (pg_blocking_pids(l.pid))
    ) then
      raise exception 'a transaction that has written to this week waits to write to another one that is being consolidated'
        using errcode = 'lock_not_available';
    end if;
    begin
      -- The week before its partitions, in the order that writers lock.
      execute format('lock table %s in share row exclusive mode', week);
      return;
    exception when lock_not_available then
      if try = tries then
        raise;
      end if;
    end;
  end loop;
end
$$;

comment on function strata.lock_week(regclass) is
  'Waits up to five seconds for the writers of a week to end, and keeps new ones waiting until the end of the transaction; readers go on. New writers wait no longer than 100 ms at a time for nothing.';
