create or replace function strata.carry_forward_openings(cutoff timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  keys bigint;
begin
  perform strata.lock_fold();
  execute format($carry$
    insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
    select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
      from strata.account_balances where "timestamp" < %L and "timestamp" >= %L
     order by account_address, asset_id, "timestamp" desc
    on conflict (account_address, asset_id) do update
      set balance = excluded.balance, "timestamp" = excluded."timestamp"
      where o."timestamp" <= excluded."timestamp"
  $carry$, cutoff, (select s.opened_before from strata.balance_status s));
  get diagnostics keys = row_count;
  update strata.balance_status set opened_before = greatest(opened_before, cutoff);
  return keys;
end
$$;

comment on function strata.carry_forward_openings(timestamptz) is
  'Writes the balance of every key at the cutoff into account_balances_opening; returns the keys written. Retention calls it, in the transaction that detaches the weeks before the cutoff.';
