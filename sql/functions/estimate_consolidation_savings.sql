create or replace function strata.estimate_consolidation_savings(months int default 3)
returns table (
  week_key text, partition_count int, row_count bigint, current_size text, estimated_size text, estimated_savings text,
  bytes_before bigint, bytes_after bigint, predicted_saving numeric
)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.estimate_savings('account_balances', months);
end;

comment on function strata.estimate_consolidation_savings(int) is
  'strata.estimate_savings() of account_balances: what merging its old weeks would save, measured.';
