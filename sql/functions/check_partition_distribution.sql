create or replace function strata.check_partition_distribution()
returns table (
  week_key text, tablename text, row_count bigint, size_bytes bigint, row_share numeric, expected_share numeric, skewed boolean
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.partition_distribution('account_balances');
end;

comment on function strata.check_partition_distribution() is
  'strata.partition_distribution() of account_balances: how evenly accounts spread over the hash partitions.';
