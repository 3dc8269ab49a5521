create or replace function strata.size_bands(
  asset bigint, instant timestamptz default null, edges numeric[] default '{1,10,100,1000,10000,100000,1000000}'
)
returns table (band int, from_amount numeric, to_amount numeric, holders bigint, amount numeric, share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  scale  numeric := strata.scale_of(asset);
  sorted numeric[] := array(select distinct e from unnest(edges) e where e > 0 order by e);
begin
  return query
    with held as (
      select width_bucket(h.balance * scale, sorted) as band, count(*) as holders, sum(h.balance) as balance
        from strata.holders_at(asset, instant) h group by 1
    )
    select b, case when b = 0 then 0 else sorted[b] end, sorted[b + 1], coalesce(h.holders, 0), coalesce(h.balance, 0) * scale,
           strata.ratio(coalesce(h.balance, 0), (select sum(t.balance) from held t))
      from generate_series(0, cardinality(sorted)) b
      left join held h on h.band = b
     order by b;
end
$$;

comment on function strata.size_bands(bigint, timestamptz, numeric[]) is
  'Holders of an asset by the size of what they hold, as of an instant: a band from each edge (in whole units, itself included) to the next, one below the first and one above the last. Null and burn accounts are left out.';
