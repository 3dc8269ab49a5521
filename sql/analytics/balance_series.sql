create or replace function strata.balance_series(
  account bytea, asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, amount numeric, balance numeric, change_count bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(strata.require_asset(asset));
  span  tstzrange := strata.span_of(unit, from_time, to_time, asset);
begin
  return query
    with last as (
      -- The opening counts as the last row of a period before all.
      select distinct on (s.period) s.period, s.balance, sum(s.change_count) over (partition by s.period) as changes
        from strata.balance_steps(lower(span), upper(span), unit, asset, account) s
       order by s.period, s."timestamp" desc
    ), filled as (
      select p.period, coalesce(l.changes, 0) as changes, l.balance, count(l.balance) over (order by p.period) as known
        from strata.periods(unit, from_time, to_time, asset) p
        left join last l on l.period = p.period
    )
    select f.period, held.balance * scale, held.balance, f.changes
      from (
        select f.*, coalesce(first_value(f.balance) over (partition by f.known order by f.period),
                             (select l.balance from last l where l.period is null), 0) as forward
          from filled f
      ) f
     cross join lateral (select f.forward as balance) held
     order by f.period;
end
$$;

comment on function strata.balance_series(bytea, bigint, timestamptz, timestamptz, text) is
  'Balance of an account in an asset at the end of every hour, day, week or month (UTC) that a span touches; a period without a change has the balance of the one before. change_count is the changes (of an observed balance the rows) within the period.';
