create or replace function strata.fold_week(week_start timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
-- Most keys of the state take part: reading it whole beats a look-up per key.
set enable_nestloop = off
as $$
declare
  lower_bound timestamptz := strata.week_start(week_start);
  upper_bound timestamptz := strata.week_start(week_start) + interval '168 hours';
  behind      boolean;
  folded      bigint;
begin
  perform strata.share_gates('account_balances');
  perform strata.lock_fold();
  perform strata.heal_state();
  execute format($check$
    select exists (
      select from strata.account_balances b join strata.assets a on a.asset_id = b.asset_id and not a.observed
       where b."timestamp" >= %L)
  $check$, lower_bound) into behind;
  if behind then
    raise exception 'there are balances at or behind the week of % already', lower_bound
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Whole weeks are folded in order into empty weeks; fold_changes() folds into what is there.';
  end if;
  perform strata.ensure_weeks('account_balances', lower_bound, lower_bound);

  -- One pass over the week: aggregate, sum along each key, on top of the state; rows arrive in key order, which the
  -- b-trees of the empty week take at the speed of building them.
  execute format($fold$
    with by_period as materialized (
      select c.account_address, c.asset_id,
             date_bin(case a.grain when 'hour' then interval '1 hour' else interval '1 day' end, c.block_time,
                      timestamptz '1970-01-01 00:00:00+00') as period,
             sum(c.delta) as delta, count(*)::int as change_count
        from strata.balance_changes c join strata.assets a on a.asset_id = c.asset_id
       where c.block_time >= %1$L and c.block_time < %2$L
       group by 1, 2, 3
    ), rows as materialized (
      select p.account_address, p.asset_id, p.period, p.change_count,
             coalesce(s.balance, 0) + sum(p.delta) over (partition by p.account_address, p.asset_id order by p.period) as balance,
             lead(p.period) over (partition by p.account_address, p.asset_id order by p.period) is null as newest
        from by_period p
        left join strata.account_balances_current s on s.account_address = p.account_address and s.asset_id = p.asset_id
    ), state as (
      insert into strata.account_balances_current as s (account_address, asset_id, balance, "timestamp")
      select account_address, asset_id, balance, period from rows where newest
      on conflict (account_address, asset_id) do update set balance = excluded.balance, "timestamp" = excluded."timestamp"
    )
    insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
    select account_address, asset_id, period, balance, change_count from rows
  $fold$, lower_bound, upper_bound);
  get diagnostics folded = row_count;
  return folded;
end
$$;

comment on function strata.fold_week(timestamptz) is
  'Folds a whole week of changes, of all sources, into balances that do not reach that week yet; returns the balance rows written. The bulk form of fold_deltas(): weeks in order give the same tables. None of these changes may have been folded before.';
