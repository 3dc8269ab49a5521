create or replace function strata.holders_over_time(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, entered bigint, left_again bigint, holders bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
begin
  return query
    with crossed as (
      -- Only where a balance crosses zero; the holders at the beginning crossed it in a period before all.
      select s.period, count(*) filter (where s.balance > 0) as entered, count(*) filter (where s.balance <= 0) as gone
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
       where (s.balance > 0) <> (s.prior > 0)
         and not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
       group by s.period
    )
    select p.period, coalesce(c.entered, 0), coalesce(c.gone, 0),
           (coalesce((select o.entered from crossed o where o.period is null), 0)
             + sum(coalesce(c.entered, 0) - coalesce(c.gone, 0)) over (order by p.period))::bigint
      from strata.periods(unit, from_time, to_time, asset) p
      left join crossed c on c.period = p.period
     order by p.period;
end
$$;

comment on function strata.holders_over_time(bigint, timestamptz, timestamptz, text) is
  'Holders of an asset at the end of every hour, day, week or month (UTC) that a span touches, and how often an account became one or ceased to be one within it. From the crossings of zero: the cost follows the asset''s changes, not its holders times the periods. Null and burn accounts are left out.';
