create or replace function strata.cohorts(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'month'
)
returns table (cohort timestamptz, age bigint, period timestamptz, accounts bigint, active bigint, holding bigint, active_share numeric, holding_share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
begin
  return query
    with steps as (
      select s.period, s.balance > 0 as holds, s.prior > 0 as held, s.account_address,
             min(s.period) over key as cohort, bool_or(s.period is null) over key as known_before
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
       where not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
      window key as (partition by s.account_address)
    ), counted as (
      select s.cohort, s.period, count(distinct s.account_address) as active,
             count(*) filter (where s.holds and not s.held) - count(*) filter (where s.held and not s.holds) as entered
        from steps s where not s.known_before group by s.cohort, s.period
    ), numbered as (
      select p.period, row_number() over (order by p.period) as place from strata.periods(unit, from_time, to_time, asset) p
    ), cells as (
      select c.period as cohort, p.place - c.place as age, p.period, first.active as accounts, coalesce(k.active, 0) as active,
             (sum(coalesce(k.entered, 0)) over (partition by c.period order by p.period))::bigint as holding
        from numbered c
        join counted first on first.cohort = c.period and first.period = c.period
        join numbered p on p.place >= c.place
        left join counted k on k.cohort = c.period and k.period = p.period
    )
    select c.cohort, c.age, c.period, c.accounts, c.active, c.holding, strata.ratio(c.active, c.accounts), strata.ratio(c.holding, c.accounts)
      from cells c
     order by c.cohort, c.period;
end
$$;

comment on function strata.cohorts(bigint, timestamptz, timestamptz, text) is
  'Retention: accounts by the period in which an asset first reached or left them, and of each cohort, so many periods (age) later, how many were active (had a change) and how many held some at its end. Accounts that were there before the span belong to no cohort; null and burn accounts are left out.';
