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
  changes     text;
  own         text;
  state       text;
  step        text;
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

  select coalesce(min(i.inhrelid::regclass::text), 'strata.account_balances_current') into state
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = 'strata.account_balances_current'::regclass
     and pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES WITH (modulus %s, remainder %s)', target.modulus, remainder);

  -- Asked of the state, which knows the newest row of each key, and not of the week itself: a lock on the week, shared by two
  -- that fill their partitions at once, would keep both from putting theirs in place.
  execute format($check$
    select exists (
      select from %3$s s join strata.assets a on a.asset_id = s.asset_id and not a.observed
       where s."timestamp" >= %1$L and %2$s)
  $check$, lower_bound, case when state = 'strata.account_balances_current' then own else 'true' end, state) into behind;
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

  -- One grain for all assets, the usual case, need not be looked up change by change.
  select case when count(distinct a.grain) = 1 then format('interval %L', '1 ' || min(a.grain))
              else '(select case a.grain when ''hour'' then interval ''1 hour'' else interval ''1 day'' end from strata.assets a where a.asset_id = c.asset_id)' end
    into step from strata.assets a where not a.observed;

  -- One sort and one window: the last change of a period has its balance, and its place among its peers is their number.
  select f.* into filled, folded from strata.fill_leaf(target.leaf, '{account_address,asset_id,timestamp,balance,change_count}', format($fold$
    select p.account_address, p.asset_id, p.period, coalesce(s.balance, 0) + p.so_far, p.change_count
      from (
        select c.account_address, c.asset_id, c.period, sum(c.delta) over so_far as so_far,
               (row_number() over so_far - rank() over so_far)::int + 1 as change_count, lead(c.period) over so_far as next_period
          from (select c.account_address, c.asset_id, date_bin(%3$s, c.block_time, timestamptz '1970-01-01 00:00:00+00') as period, c.delta
                  from %1$s) c
        window so_far as (partition by c.account_address, c.asset_id order by c.period rows unbounded preceding)
      ) p
      left join %2$s s on s.account_address = p.account_address and s.asset_id = p.asset_id
     where p.next_period is distinct from p.period
     order by p.account_address, p.asset_id, p.period
  $fold$, changes, state, step)) f;
  if filled <> target.leaf then
    perform strata.build_indexes_like(target.leaf, filled);
    execute format('analyze %s (account_address)', filled);
  end if;

  perform strata.advance_state(filled, state::regclass);
  return folded;
end
$$;

comment on function strata.fill_week_partition(timestamptz, int) is
  'The first half of fold_week_partition(): balances of one hash partition of the week, in a table beside the set with all its indexes, and the state after them; returns the balance rows. Where the partition has rows already (snapshots), they go straight into it.';
