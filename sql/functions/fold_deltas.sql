create or replace function strata.fold_deltas(hash_partition int default null, opened timestamptz default null, undoable bigint default null) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  folded bigint;
begin
  if strata.topology() <> 'shard' then
    perform strata.lock_fold(hash_partition);
    perform strata.heal_state();
    if hash_partition is null then
      perform strata.stage_taken_back();
    end if;
    select s.opened_before into strict opened from strata.balance_status s;
    -- Openings that a retention may have to put back as they were.
    if opened > '-infinity' then
      undoable := strata.undoable_retention();
    end if;
    if strata.topology() = 'citus' then
      -- What was staged in this session goes to the shards, once; under the lock of the fold nobody else has rows there.
      insert into strata.balance_deltas select * from pg_temp.balance_deltas;
      delete from pg_temp.balance_deltas;
      return strata.in_shards('fold_deltas', null, opened::text, undoable::text);
    end if;
  elsif strata.state_is_lost() then
    perform strata.rebuild_state();
  end if;
  folded := strata.fold_staged(opened, undoable);
  -- A transaction may fold more than once.
  delete from pg_temp.balance_deltas;
  delete from pg_temp.late_deltas;
  if strata.topology() = 'shard' and pg_relation_size('pg_temp.balance_deltas') > 4000000 then
    truncate pg_temp.balance_deltas, pg_temp.late_deltas, pg_temp.late_periods;
  end if;
  return folded;
end
$$;

comment on function strata.fold_deltas(int, timestamptz, bigint) is
  'Folds pg_temp.balance_deltas into account_balances and account_balances_current inside the caller''s transaction; returns the rows touched. Afterwards every balance equals a full recompute. Weeks of the periods must exist. With a hash partition, all deltas are of its accounts, and other partitions may be folded at the same time. The other arguments are for its copies in the shards of a cluster.';
