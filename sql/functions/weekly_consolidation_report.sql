create or replace function strata.weekly_consolidation_report()
returns table (metric text, value text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.consolidation_report('account_balances');
end;

comment on function strata.weekly_consolidation_report() is
  'strata.consolidation_report() of account_balances: its weeks, tables, savings and failures in twelve figures.';
