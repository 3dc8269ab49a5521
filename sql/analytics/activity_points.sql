create or replace function strata.activity_points(
  from_time timestamptz, to_time timestamptz default now(), standard text default 'activity',
  curve jsonb default '[{"usd": 0, "multiplier": 1}]', bands numeric[] default '{}'
)
returns table (account_address bytea, asset_id bigint, activity text, usd_average numeric, valued_share numeric, multiplier numeric, points numeric, band int)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span    numeric := extract(epoch from to_time - from_time);
  edges   numeric[] := array(select distinct e from unnest(bands) e order by e);
begin
  perform from strata.periods('month', from_time, to_time);
  return query
    with averages as (
      select v.account_address, v.asset_id, strata.ratio(coalesce(sum(v.usd * v.seconds), 0), span) as usd,
             strata.ratio(coalesce(sum(v.seconds) filter (where v.usd is not null), 0), sum(v.seconds)) as valued
        from strata.valued_steps(from_time, to_time, standard) v
       where not exists (select from strata.burn_accounts n where n.account_address = v.account_address)
       group by v.account_address, v.asset_id having sum(v.seconds) > 0
    ), multiplied as (
      select a.*, strata.multiplier_of(curve, sum(a.usd) over (partition by a.account_address)) as multiplier from averages a
    )
    select m.account_address, m.asset_id, coalesce(n.symbol, n.asset_key), m.usd, m.valued, m.multiplier, m.usd * m.multiplier,
           width_bucket(sum(m.usd * m.multiplier) over (partition by m.account_address), edges)
      from multiplied m join strata.assets n on n.asset_id = m.asset_id
     order by sum(m.usd * m.multiplier) over (partition by m.account_address) desc, m.account_address, 7 desc, m.asset_id;
end
$$;

comment on function strata.activity_points(timestamptz, timestamptz, text, jsonb, numeric[]) is
  'Points of an incentive programme: the USD value an account had in each activity (assets of one standard), averaged over the span by the time it was held, times the multiplier that the curve gives for its average in all activities. curve: [{"usd": 0, "multiplier": 0.5}, {"usd": 1000, "multiplier": 1}] in ascending order, straight lines between its points, level outside. bands: lower edges of an account''s points in all; band 0 is below the first. valued_share is the share of the time for which a USD value was known.';
