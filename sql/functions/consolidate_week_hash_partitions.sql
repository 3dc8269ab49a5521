create or replace function strata.consolidate_week_hash_partitions(
  week text, start_time timestamptz default null, end_time timestamptz default null
)
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.consolidate_week('account_balances', week, start_time, end_time);
end;

comment on function strata.consolidate_week_hash_partitions(text, timestamptz, timestamptz) is
  'strata.consolidate_week() of account_balances: merges one week''s partitions now.';
