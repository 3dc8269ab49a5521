create or replace function strata.explain_account_balance_query(start_time timestamptz, end_time timestamptz, account text default null)
returns table (query_plan text)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.explain_query('account_balances', start_time, end_time, account);
end;

comment on function strata.explain_account_balance_query(timestamptz, timestamptz, text) is
  'strata.explain_query() of account_balances: the plan of reading an account''s balances, and how many partitions it reads.';
