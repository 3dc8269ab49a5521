create or replace function strata.store_snapshots(grain text) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  stored bigint;
begin
  insert into strata.snapshot_rows (account_address, asset_id, observed_at, block_num, ordinal, source_id, balance, usd_value, data)
  select account_address, asset_id, observed_at, block_num, ordinal, source_id, balance, usd_value, data
    from pg_temp.snapshot_stage order by account_address, asset_id, observed_at;
  get diagnostics stored = row_count;
  insert into pg_temp.snapshot_touched (account_address, asset_id, first, shrinks)
  select account_address, asset_id, strata.period_start(store_snapshots.grain, min(observed_at)), false
    from pg_temp.snapshot_stage group by account_address, asset_id;
  delete from pg_temp.snapshot_stage;
  return stored;
end
$$;

comment on function strata.store_snapshots(text) is
  'Moves pg_temp.snapshot_stage into snapshot_rows and notes whose balances it touches; the caller calls fold_snapshots() before it commits. Returns the rows moved.';
