create or replace function strata.supply(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, supply numeric, minted numeric, burned numeric, circulating numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span   tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
  scale  numeric := strata.scale_of(asset);
  -- Where every change has its counterpart the null account owes what exists: its balance alone tells of all others.
  closed boolean := (select a.zero_sum and not a.observed from strata.assets a where a.asset_id = asset);
  traced boolean := closed and lower(span) >= (select s.changes_from from strata.balance_status s);
begin
  return query
    with stepped as (
      select s.period, -coalesce(sum(s.balance - s.prior) filter (where n.mints), 0) as supply, -sum(s.balance - s.prior) as circulating
        from strata.burn_accounts n
       cross join lateral strata.balance_steps(lower(span), upper(span), unit, asset, n.account_address) s
       where closed group by s.period
      union all
      select s.period, coalesce(sum(s.balance - s.prior) filter (where n.mints is distinct from true), 0),
             coalesce(sum(s.balance - s.prior) filter (where n.mints is null), 0)
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
        left join strata.burn_accounts n on n.account_address = s.account_address
       where not closed group by s.period
    ), moved as (
      select m.period, sum(m.outflow) as minted, sum(m.inflow) as burned
        from strata.burn_accounts n
       cross join lateral strata.balance_movements(lower(span), upper(span), unit, asset, n.account_address) m
       where traced and n.mints group by m.period
    )
    select p.period, (coalesce(o.supply, 0) + sum(coalesce(s.supply, 0)) over (order by p.period)) * scale,
           case when traced then coalesce(m.minted, 0) * scale end, case when traced then coalesce(m.burned, 0) * scale end,
           (coalesce(o.circulating, 0) + sum(coalesce(s.circulating, 0)) over (order by p.period)) * scale
      from strata.periods(unit, from_time, to_time, asset) p
      left join stepped o on o.period is null
      left join stepped s on s.period = p.period
      left join moved m on m.period = p.period
     order by p.period;
end
$$;

comment on function strata.supply(bigint, timestamptz, timestamptz, text) is
  'Supply of an asset at the end of every hour, day, week or month (UTC) that a span touches, what was minted and burned within it, and what circulates: the supply without what burn accounts hold. Mint and burn are transfers with the null account (strata.burn_accounts.mints); they are null for observed balances, for assets whose changes have no counterpart, and where changes are no longer retained.';
