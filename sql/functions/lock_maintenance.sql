create or replace function strata.lock_maintenance(set_name text) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  key    bigint := strata.advisory_key('maintain ' || set_name);
  holder text;
begin
  if pg_try_advisory_xact_lock(key) then
    return;
  end if;
  select format('%s (pid %s)', coalesce(nullif(a.application_name, ''), 'a session'), a.pid) into holder
    from pg_locks l join pg_stat_activity a on a.pid = l.pid
   where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.database = (select oid from pg_database where datname = current_database())
     and ((l.classid::bigint << 32) | l.objid::bigint) = key
   limit 1;
  raise exception 'the set % is being maintained by %', set_name, coalesce(holder, 'another session')
    using errcode = 'lock_not_available', hint = 'Wait for it to finish, or stop that process.';
end
$$;

comment on function strata.lock_maintenance(text) is
  'Makes this transaction the one maintainer of a set, or says who is; the same lock as that of pgstrata maintain.';
