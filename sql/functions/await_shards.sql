create or replace function strata.await_shards() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if strata.topology() = 'citus' then
    perform bool_and(strata.await_prepared() and s.shard_id > 0) from strata.shards s;
  end if;
end
$$;

comment on function strata.await_shards() is
  'Waits until what was committed can be seen in every shard; see await_prepared(). Nothing to wait for on one server.';
