create or replace function strata.consolidate_old_hash_partitions(months int default 3, dry_run boolean default true)
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.consolidate_old_weeks('account_balances', months, dry_run);
end;

comment on function strata.consolidate_old_hash_partitions(int, boolean) is
  'strata.consolidate_old_weeks() of account_balances: merges every week older than that many months; by default only says what it would do.';
