create or replace function strata.find_missing_partitions()
returns table (week_key text, week_start timestamptz, week_end timestamptz, status text, advice text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.find_missing_weeks('account_balances');
end;

comment on function strata.find_missing_partitions() is
  'strata.find_missing_weeks() of account_balances: gaps, and weeks that should have been created ahead.';
