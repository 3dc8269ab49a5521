create or replace function strata.concentration(asset bigint, instant timestamptz default null, top int default 10)
returns table (holders bigint, amount numeric, gini numeric, top_share numeric, palma numeric, nakamoto bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    with held as (
      -- Poorest first; richest and the running sum from the other end, so that what ties break is the same in both.
      select h.balance, row_number() over poorest as place, count(*) over () as holders, sum(h.balance) over () as total,
             sum(h.balance) over (order by h.balance desc, h.account_address desc rows unbounded preceding) as held_by_richer
        from strata.holders_at(asset, instant) h
      window poorest as (order by h.balance, h.account_address)
    )
    select count(*), coalesce(max(total), 0) * strata.scale_of(asset),
           strata.ratio(sum((2 * place - holders - 1) * balance), max(holders) * max(total)),
           strata.ratio(sum(balance) filter (where place > holders - top), max(total)),
           strata.ratio(sum(balance) filter (where place > holders - (holders + 9) / 10), sum(balance) filter (where place <= holders * 4 / 10)),
           count(*) filter (where (held_by_richer - balance) * 2 <= total)
      from held;
end
$$;

comment on function strata.concentration(bigint, timestamptz, int) is
  'How unevenly an asset is held as of an instant, null and burn accounts left out. gini: 0 when all hold alike, towards 1 when one holds all. top_share: what the top holders have of all. palma: what the richest tenth (rounded up) has over what the poorest four tenths (rounded down) have, null where those are nobody. nakamoto: how few accounts hold more than half.';
