create or replace function strata.top_holders(asset bigint, instant timestamptz default null, holders int default 10)
returns table (rank bigint, account_address bytea, amount numeric, balance numeric, share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(asset);
begin
  return query
    select rank() over (order by h.balance desc), h.account_address, h.balance * scale, h.balance, strata.ratio(h.balance, h.total)
      from (select h.*, sum(h.balance) over () as total from strata.holders_at(asset, instant) h) h
     order by h.balance desc, h.account_address
     limit holders;
end
$$;

comment on function strata.top_holders(bigint, timestamptz, int) is
  'The accounts that hold most of an asset as of an instant (or the newest balances), without the null and burn accounts. share is that of what all holders have; equal balances share a rank.';
