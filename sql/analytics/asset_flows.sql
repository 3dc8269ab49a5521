create or replace function strata.asset_flows(
  from_time timestamptz, to_time timestamptz default now(), unit text default 'day', asset bigint default null
)
returns table (period timestamptz, asset_id bigint, inflow numeric, outflow numeric, gross numeric, net numeric, accounts bigint, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    select m.period, m.asset_id, sum(m.inflow) * strata.scale_of(m.asset_id), sum(m.outflow) * strata.scale_of(m.asset_id),
           sum(m.inflow + m.outflow) * strata.scale_of(m.asset_id), sum(m.inflow - m.outflow) * strata.scale_of(m.asset_id),
           count(*), sum(m.changes)::bigint
      from strata.balance_movements(from_time, to_time, unit, asset) m
     where not exists (select from strata.burn_accounts n where n.account_address = m.account_address)
     group by m.period, m.asset_id
     order by m.period, m.asset_id;
end
$$;

comment on function strata.asset_flows(timestamptz, timestamptz, text, bigint) is
  'What came in and went out of all accounts but the null and burn ones, by asset and hour, day, week or month (UTC), in whole units: a transfer between two of them counts in both, so gross is twice what was transferred and net is what was minted less what was burned. Periods without a change have no row.';
