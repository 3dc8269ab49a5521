create or replace function strata.time_weighted_balances(asset bigint, from_time timestamptz, to_time timestamptz default now(), account bytea default null)
returns table (account_address bytea, average numeric, opening numeric, closing numeric, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(strata.require_asset(asset));
begin
  perform from strata.periods('month', from_time, to_time);
  return query
    select s.account_address,
           strata.ratio(sum(s.balance * extract(epoch from s.until - s."timestamp")), extract(epoch from to_time - from_time)) * scale,
           coalesce(max(s.balance) filter (where s.period is null), 0) * scale,
           (array_agg(s.balance order by s."timestamp" desc, s.period nulls last))[1] * scale,
           coalesce(sum(s.change_count), 0)::bigint
      from strata.balance_steps(from_time, to_time, 'hour', asset, account) s
     where not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
     group by s.account_address
    having bool_or(s.balance <> 0)
     order by 2 desc, s.account_address;
end
$$;

comment on function strata.time_weighted_balances(bigint, timestamptz, timestamptz, bytea) is
  'Average balance of every account (or one) over a span, each balance weighted with the time it was held: the one brought into the span counts from its beginning, and a time without rows as the balance it had. A balance counts from the start of its period. In whole units; null and burn accounts, and those that never held any, are left out.';
