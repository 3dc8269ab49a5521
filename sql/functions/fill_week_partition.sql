create or replace function strata.fill_week_partition(week_start timestamptz, remainder int) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
set maintenance_work_mem = '256MB'
-- Partitions are what is filled side by side: sharing one index build costs more than it gives.
set max_parallel_maintenance_workers = 0
-- Enough to plan what follows; autovacuum looks closer.
set default_statistics_target = 10
-- Most keys of the state take part: reading it whole beats a look-up per key.
set enable_nestloop = off
as $$
declare
  lower_bound timestamptz := strata.week_start(week_start);
  upper_bound timestamptz := strata.week_start(week_start) + interval '168 hours';
  target      record;
  own_leaf    regclass;
  changes     text;
  own         text;
  state       text;
  filled      regclass;
  folded      bigint;
begin
  select l.* into target from strata.week_leaves('account_balances', lower_bound) l where l.remainder = fill_week_partition.remainder;
  if target.leaf is null then
    raise exception 'the week of % has no hash partition %', lower_bound, remainder
      using errcode = 'undefined_table', hint = 'Call ensure_weeks() first; a consolidated week takes fold_changes().';
  end if;
  -- The state has four hash partitions; where the week has as many, each fold locks its own.
  perform strata.lock_fold(case when target.modulus = 4 then remainder end);
  perform strata.heal_state();
  own := format('satisfies_hash_partition(%s, %s, %s, account_address)',
    case when target.modulus = 4 then 'strata.account_balances_current'::regclass::oid else target.week::oid end, target.modulus, remainder);
  state := strata.state_partition(target.modulus, remainder)::text;

  -- Changes that are cut like the balances are read from one leaf, others by their hash.
  select l.leaf into own_leaf
    from strata.week_leaves('balance_changes', lower_bound) l
   where l.modulus = target.modulus and l.remainder = fill_week_partition.remainder;
  select p.filled, p.row_count into filled, folded from strata.take_prefilled(own_leaf, target.leaf) p;
  if filled is null then
    -- Asked of the state, which knows the newest row of each key, and not of the week itself: a lock on the week, shared by two
    -- that fill their partitions at once, would keep both from putting theirs in place.
    if strata.state_reaches(coalesce(state, 'strata.account_balances_current')::regclass, lower_bound, case when state is null then own else 'true' end) then
      raise exception 'there are balances at or behind the week of % already', lower_bound
        using errcode = 'object_not_in_prerequisite_state',
              hint = 'Whole weeks are folded in order into empty weeks; fold_changes() folds into what is there.';
    end if;
    changes := coalesce(own_leaf || ' c', format(
      'strata.balance_changes c where c.block_time >= %1$L and c.block_time < %2$L and %3$s', lower_bound, upper_bound, own));
    select f.* into filled, folded
      from strata.fill_leaf(target.leaf, '{account_address,asset_id,timestamp,balance,change_count}',
             strata.week_fold_statement(changes, coalesce(state, 'strata.account_balances_current'))) f;
    if filled <> target.leaf then
      perform strata.build_indexes_like(target.leaf, filled);
      execute format('analyze %s (account_address)', filled);
    end if;
  end if;

  perform strata.advance_state(filled, coalesce(state, 'strata.account_balances_current')::regclass);
  return folded;
end
$$;

comment on function strata.fill_week_partition(timestamptz, int) is
  'The first half of fold_week_partition(): balances of one hash partition of the week, in a table beside the set with all its indexes, and the state after them; returns the balance rows. Where the partition has rows already (snapshots), they go straight into it. What prefill_week_partition() has made for this transaction is taken as it is.';
