create or replace function strata.balance_movements(
  from_time timestamptz, to_time timestamptz, unit text default 'day', asset bigint default null, account bytea default null
)
returns table (account_address bytea, asset_id bigint, period timestamptz, inflow numeric, outflow numeric, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows_of(account, 'balance_movements', from_time::text, to_time::text, unit::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, period timestamptz, inflow numeric, outflow numeric, changes bigint);
    return;
  end if;
  perform from strata.periods(unit, from_time, to_time, asset);
  if exists (select from strata.assets a where not a.observed and (asset is null or a.asset_id = asset)) then
    perform strata.require_retained('changes', from_time);
    return query execute format($changes$
      select c.account_address, c.asset_id, %s as period, coalesce(sum(c.delta) filter (where c.delta > 0), 0),
             coalesce(-sum(c.delta) filter (where c.delta < 0), 0), count(*)
        from strata.balance_changes c where c.block_time >= %L and c.block_time < %L%s group by 1, 2, 3
    $changes$, strata.period_expression(unit, 'c.block_time'), from_time, to_time,
      concat(' and c.asset_id = ' || asset, ' and c.account_address = ' || quote_literal(account)));
  end if;
  -- Observed balances have no changes: what moved is the difference of one balance to the next.
  if exists (select from strata.assets a where a.observed and (asset is null or a.asset_id = asset)) then
    return query
      select s.account_address, s.asset_id, s.period, sum(greatest(s.balance - s.prior, 0)), sum(greatest(s.prior - s.balance, 0)), count(*)
        from strata.balance_steps(from_time, to_time, unit, asset, account) s join strata.assets a on a.asset_id = s.asset_id
       where s.period is not null and a.observed group by 1, 2, 3;
  end if;
end
$$;

comment on function strata.balance_movements(timestamptz, timestamptz, text, bigint, bytea) is
  'What came in and went out of every account (or one), by asset and hour, day, week or month (UTC) of a span: from the changes, or for observed balances from one balance row to the next. changes counts those.';
