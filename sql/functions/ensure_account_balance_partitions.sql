create or replace function strata.ensure_account_balance_partitions(start_time timestamptz, end_time timestamptz)
returns table (week_start timestamptz, partition regclass, created boolean)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.ensure_weeks('account_balances', start_time, greatest(start_time, end_time - interval '1 microsecond'));
end;

comment on function strata.ensure_account_balance_partitions(timestamptz, timestamptz) is
  'Creates the weeks of account_balances that are missing from start_time up to, and not including, end_time.';
