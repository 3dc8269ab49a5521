create or replace function strata.fold_late_state(opened timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
begin
  insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
  select account_address, asset_id, sum(delta), max(period)
    from pg_temp.late_deltas where not state_done group by account_address, asset_id having min(change_count) >= 0
   order by account_address, asset_id
  on conflict (account_address, asset_id) do update
    set balance = c.balance + excluded.balance, "timestamp" = greatest(c."timestamp", excluded."timestamp");

  if not exists (select from pg_temp.late_deltas where change_count < 0) then
    return;
  end if;
  -- Where changes were taken back the newest row may be gone: the state is what is left, and goes with the last of it.
  with shrunk as materialized (
    select account_address, asset_id from pg_temp.late_deltas
     group by account_address, asset_id having min(change_count) < 0
  ), newest as materialized (
    select k.account_address, k.asset_id, coalesce(r."timestamp", o."timestamp") as "timestamp", coalesce(r.balance, o.balance) as balance
      from shrunk k
      left join lateral (
        select b."timestamp", b.balance from strata.account_balances b
         where b.account_address = k.account_address and b.asset_id = k.asset_id and b."timestamp" >= opened
         order by b."timestamp" desc limit 1
      ) r on true
      left join strata.account_balances_opening o on o.account_address = k.account_address and o.asset_id = k.asset_id
  ), gone as (
    delete from strata.account_balances_current c using newest n
     where c.account_address = n.account_address and c.asset_id = n.asset_id and n."timestamp" is null
  )
  insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
  select n.account_address, n.asset_id, n.balance, n."timestamp" from newest n where n."timestamp" is not null
   order by n.account_address, n.asset_id
  on conflict (account_address, asset_id) do update set balance = excluded.balance, "timestamp" = excluded."timestamp";
end
$$;

comment on function strata.fold_late_state(timestamptz) is
  'The part of fold_deltas() that brings the state of late and shrunk keys in line with their history.';
