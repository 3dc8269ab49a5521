create or replace function strata.balances_at(instant timestamptz default null, asset bigint default null, account bytea default null)
returns table (account_address bytea, asset_id bigint, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  kind   record;
  period timestamptz;
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows_of(account, 'balances_at', instant::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, balance numeric);
    return;
  end if;
  if account is not null then
    return query
      select account, k.asset_id, k.balance
        from (select a.asset_id, case when instant is null then (strata.last_balance(account, a.asset_id, 'infinity')).balance
                                      else strata.balance_at(account, a.asset_id, instant) end as balance
                from strata.account_keys(account, asset) a (asset_id)) k
       where k.balance <> 0;
    return;
  end if;
  if instant is null then
    return query select k.account_address, k.asset_id, k.balance from strata.balances_before('infinity', asset) k where k.balance <> 0;
    return;
  end if;
  -- Assets of one grain and kind at a time: they share their period, and what tells of the time since it began.
  for kind in
    select a.grain, a.observed, array_agg(a.asset_id) as assets, case when a.observed then s.observations_from else s.changes_from end as retained
      from strata.assets a, strata.balance_status s where asset is null or a.asset_id = asset group by 1, 2, 4
  loop
    period := strata.period_start(kind.grain, instant);
    if period < kind.retained then
      period := instant + interval '1 microsecond';  -- what happened since is gone: exact to the period, not to the instant
    end if;
    return query execute format($at$
      select account_address, asset_id, %1$s
        from (select b.account_address, b.asset_id, b.balance from strata.balances_before(%2$L, %3$L) b where b.asset_id = any (%4$L)) k
        full join (%5$s) since using (account_address, asset_id)
       where %1$s <> 0
    $at$, case when kind.observed then 'coalesce(since.balance, k.balance)' else 'coalesce(k.balance, 0) + coalesce(since.delta, 0)' end,
      period, asset, kind.assets, format(
        case when kind.observed then $snapshots$
          select distinct on (r.account_address, r.asset_id) r.account_address, r.asset_id, r.balance from strata.snapshot_rows r
           where r.observed_at between %L and %L and r.asset_id = any (%L)
           order by r.account_address, r.asset_id, r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc
        $snapshots$ else $changes$
          select c.account_address, c.asset_id, sum(c.delta) as delta from strata.balance_changes c
           where c.block_time between %L and %L and c.asset_id = any (%L) group by c.account_address, c.asset_id
        $changes$ end, period, instant, kind.assets));
  end loop;
end
$$;

comment on function strata.balances_at(timestamptz, bigint, bytea) is
  'Every balance but zeros as of an instant, as strata.balance_at() has it: of all accounts or one, in all assets or one. Without an instant the newest balances. Null and burn accounts are among them; see strata.holders_at().';
