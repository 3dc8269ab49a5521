create or replace function strata.fold_snapshot_state() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  latest timestamptz;
begin
  insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
  select k.account_address, k.asset_id, n.balance, n.period
    from pg_temp.snapshot_keys k
   cross join lateral (
     select p.period, p.balance from pg_temp.snapshot_periods p
      where p.account_address = k.account_address and p.asset_id = k.asset_id and p.stored
      order by p.period desc limit 1
   ) n
   order by k.account_address, k.asset_id
  on conflict (account_address, asset_id) do update
    set balance = excluded.balance, "timestamp" = excluded."timestamp"
    where (c.balance, c."timestamp") is distinct from (excluded.balance, excluded."timestamp");

  -- Keys that lost all rows from their first touched period on fall back to the row before, to their opening, or go.
  delete from pg_temp.snapshot_keys k
   where k.state_time is null or k.state_time < k.first
      or exists (
        select from pg_temp.snapshot_periods p
         where p.account_address = k.account_address and p.asset_id = k.asset_id and p.stored);
  select max(k.first) into latest from pg_temp.snapshot_keys k;
  if latest is null then
    return;
  end if;
  execute format($fall$
    with fallen as materialized (
      select k.account_address, k.asset_id,
             case when b."timestamp" is null then o.balance else b.balance end as balance, coalesce(b."timestamp", o."timestamp") as "timestamp"
        from pg_temp.snapshot_keys k
        left join lateral (
          select b."timestamp", b.balance from strata.account_balances b
           where b.account_address = k.account_address and b.asset_id = k.asset_id and b."timestamp" < k.first and b."timestamp" < %1$L
           order by b."timestamp" desc limit 1
        ) b on true
        left join strata.account_balances_opening o on o.account_address = k.account_address and o.asset_id = k.asset_id
    ), gone as (
      delete from strata.account_balances_current c using fallen f
       where c.account_address = f.account_address and c.asset_id = f.asset_id and f."timestamp" is null
    )
    update strata.account_balances_current c set balance = f.balance, "timestamp" = f."timestamp"
      from fallen f
     where c.account_address = f.account_address and c.asset_id = f.asset_id and f."timestamp" is not null
  $fall$, latest);
end
$$;

comment on function strata.fold_snapshot_state() is
  'The part of fold_snapshots() that brings the state in line: the newest stored balance of each touched key, or none.';
