create or replace function strata.get_account_balance_partition_info()
returns table (
  schemaname text, tablename text, week_key text, week_start timestamptz, week_end timestamptz, partition_type text,
  row_count bigint, size text, size_bytes bigint, index_bytes bigint
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.partition_info('account_balances');
end;

comment on function strata.get_account_balance_partition_info() is
  'strata.partition_info() of account_balances: every table with rows of it, its week and sizes.';
