create or replace function strata.fill_week_partition(week_start timestamptz, remainder int) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
set maintenance_work_mem = '256MB'
-- Most keys of the state take part: reading it whole beats a look-up per key.
set enable_nestloop = off
as $$
declare
  lower_bound timestamptz := strata.week_start(week_start);
  upper_bound timestamptz := strata.week_start(week_start) + interval '168 hours';
  target      record;
  changes     text;
  own         text;
  behind      boolean;
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

  -- Asked of the state, which knows the newest row of each key, and not of the week itself: a lock on the week, shared by two
  -- that fill their partitions at once, would keep both from putting theirs in place.
  execute format($check$
    select exists (
      select from strata.account_balances_current s join strata.assets a on a.asset_id = s.asset_id and not a.observed
       where s."timestamp" >= %1$L and %2$s)
  $check$, lower_bound, own) into behind;
  if behind then
    raise exception 'there are balances at or behind the week of % already', lower_bound
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Whole weeks are folded in order into empty weeks; fold_changes() folds into what is there.';
  end if;

  -- Changes that are cut like the balances are read from one leaf, others by their hash.
  select format('%s c', l.leaf) into changes
    from strata.week_leaves('balance_changes', lower_bound) l
   where l.modulus = target.modulus and l.remainder = fill_week_partition.remainder;
  changes := coalesce(changes, format(
    'strata.balance_changes c where c.block_time >= %1$L and c.block_time < %2$L and %3$s', lower_bound, upper_bound, own));

  filled := strata.open_fresh_leaf(target.leaf);
  execute format($fold$
    insert into %1$s (account_address, asset_id, "timestamp", balance, change_count)
    select p.account_address, p.asset_id, p.period,
           coalesce(s.balance, 0) + sum(p.delta) over (partition by p.account_address, p.asset_id order by p.period), p.change_count
      from (
        select c.account_address, c.asset_id,
               date_bin(case a.grain when 'hour' then interval '1 hour' else interval '1 day' end, c.block_time,
                        timestamptz '1970-01-01 00:00:00+00') as period,
               sum(c.delta) as delta, count(*)::int as change_count
          from (select c.account_address, c.asset_id, c.block_time, c.delta from %2$s) c
          join strata.assets a on a.asset_id = c.asset_id
         group by 1, 2, 3
      ) p
      left join strata.account_balances_current s on s.account_address = p.account_address and s.asset_id = p.asset_id
     order by p.account_address, p.asset_id, p.period
  $fold$, filled, changes);
  get diagnostics folded = row_count;

  execute format($state$
    with newest as materialized (
      select account_address, asset_id, balance, "timestamp"
        from (
          select account_address, asset_id, balance, "timestamp",
                 lead("timestamp") over (partition by account_address, asset_id order by "timestamp") is null as newest
            from %1$s where change_count > 0
        ) rows
       where newest
    ), known as (
      update strata.account_balances_current s set balance = n.balance, "timestamp" = n."timestamp"
        from newest n where s.account_address = n.account_address and s.asset_id = n.asset_id
      returning s.account_address, s.asset_id
    )
    insert into strata.account_balances_current (account_address, asset_id, balance, "timestamp")
    select n.account_address, n.asset_id, n.balance, n."timestamp"
      from newest n left join known k on k.account_address = n.account_address and k.asset_id = n.asset_id
     where k.asset_id is null
  $state$, filled);

  if filled <> target.leaf then
    perform strata.build_indexes_like(target.leaf, filled);
  end if;
  return folded;
end
$$;

comment on function strata.fill_week_partition(timestamptz, int) is
  'The first half of fold_week_partition(): balances of one hash partition of the week, in a table beside the set with all its indexes, and the state after them; returns the balance rows. Where the partition has rows already (snapshots), they go straight into it.';
