create or replace function strata.get_partition_consolidation_status()
returns table (
  week_key text, week_start timestamptz, week_end timestamptz, partition_type text, partition_count int, row_count bigint,
  total_size text, total_bytes bigint, due boolean, advice text
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.consolidation_status('account_balances');
end;

comment on function strata.get_partition_consolidation_status() is
  'strata.consolidation_status() of account_balances: which weeks are partitioned, consolidated or due.';
