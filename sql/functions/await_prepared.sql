create or replace function strata.await_prepared() returns boolean
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  tries constant int := 100;
  pending text[] := (select array_agg(x.gid) from pg_prepared_xacts x where x.database = current_database());
begin
  for try in 1 .. tries loop
    if not exists (select from pg_prepared_xacts x where x.gid = any (pending)) then
      return true;
    end if;
    perform pg_sleep(0.05);
  end loop;
  raise exception 'a transaction is prepared on this node and neither committed nor rolled back: %', pending[1]
    using errcode = 'serialization_failure', hint = 'Citus does it within a minute of a node''s return; at once by select recover_prepared_transactions() on the coordinator.';
end
$$;

comment on function strata.await_prepared() is
  'On a worker: waits for transactions that are between the two phases of their commit. What they wrote cannot be seen yet, and must be before anything is reckoned from it; after five seconds, when a node has died in between, that is an error.';
