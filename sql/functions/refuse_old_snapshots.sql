create or replace function strata.refuse_old_snapshots() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  reader text;
begin
  -- Read committed keeps no snapshot between its statements: who is idle in a transaction and has one keeps it for the rest.
  select format('%s (pid %s)', coalesce(nullif(a.application_name, ''), 'a session'), a.pid) into reader
    from pg_stat_activity a
   where a.datname = current_database() and a.state like 'idle in transaction%' and a.backend_xmin is not null and a.pid <> pg_backend_pid()
   limit 1;
  if reader is not null then
    raise exception '% reads in a transaction whose snapshot is older than the copy: to it the week would be empty', reader
      using errcode = 'object_in_use', hint = 'Call again when that transaction has ended.';
  end if;
end
$$;

comment on function strata.refuse_old_snapshots() is
  'An error while a session of this database is idle in a repeatable read (or serializable) transaction: rows copied since its snapshot are invisible to it, so a swap would empty the week for it. Sees the sessions that the caller may see in pg_stat_activity.';
