create or replace function strata.portfolio_at(account bytea, instant timestamptz default now(), max_age interval default null)
returns table (asset_id bigint, asset text, amount numeric, price numeric, priced_at timestamptz, usd_value numeric, status text)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    select b.asset_id, coalesce(a.symbol, a.asset_key), b.balance * scale, p.usd, p.priced_at,
           case when p.is_fresh then b.balance * scale * p.usd end,
           case when p.usd is null then 'unpriced' when p.is_fresh then 'priced' else 'stale' end
      from strata.balances_at(instant, null, account) b
      join strata.assets a on a.asset_id = b.asset_id
     cross join strata.scale_of(b.asset_id) scale
      left join lateral (
        select r.usd, r.priced_at, max_age is null or r.priced_at >= instant - max_age as is_fresh
          from strata.prices r where r.asset_id = b.asset_id and r.priced_at <= instant
         order by r.priced_at desc limit 1
      ) p on true
     order by 6 desc nulls last, 2, b.asset_id;
end
$$;

comment on function strata.portfolio_at(bytea, timestamptz, interval) is
  'What an account holds as of an instant, at the last prices known then. status: priced; stale, where the last price is older than max_age; unpriced, where there is none. Only what is priced has a usd_value, so that a sum never takes unknown for nothing.';
