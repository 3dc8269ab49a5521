create or replace function strata.lock_fold(hash_partition int default null) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  -- A state that must be rebuilt is rebuilt whole, so nobody may fold a part of it meanwhile.
  if strata.state_is_stale() then
    hash_partition := null;
  end if;
  -- Whoever folds everything takes all locks, in order: nobody waits for a lock while holding a later one.
  for partition in coalesce(hash_partition, 0) .. coalesce(hash_partition, 3) loop
    perform pg_advisory_xact_lock(hashtextextended('pgstrata fold ' || partition, 0));
  end loop;
end
$$;

comment on function strata.lock_fold(int) is
  'One fold at a time for the accounts of a hash partition (0 to 3) of the state, or of all of them, until the transaction ends: the rows of a key are then read and written in one order, without deadlocks.';
