create or replace function strata.active_accounts(
  from_time timestamptz, to_time timestamptz default now(), unit text default 'day', asset bigint default null
)
returns table (period timestamptz, active bigint, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, asset);
begin
  return query
    with seen as (
      select b.period, count(distinct b.account_address) as active, sum(b.change_count)::bigint as changes
        from strata.balance_rows(lower(span), upper(span), unit, asset) b
       where not exists (select from strata.burn_accounts n where n.account_address = b.account_address)
       group by b.period
    )
    select p.period, coalesce(s.active, 0), coalesce(s.changes, 0)
      from strata.periods(unit, from_time, to_time, asset) p
      left join seen s on s.period = p.period
     order by p.period;
end
$$;

comment on function strata.active_accounts(timestamptz, timestamptz, text, bigint) is
  'Accounts with a change (for observed balances a row) in every hour, day, week or month (UTC) that a span touches, of one asset or of any, and the number of those changes. Null and burn accounts are left out.';
