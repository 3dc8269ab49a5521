create or replace function strata.mark_state_stale(reason text default 'marked by hand') returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  update strata.balance_status set stale = true, reason = mark_state_stale.reason, changed_at = statement_timestamp();
end
$$;

comment on function strata.mark_state_stale(text) is
  'Says that account_balances_current is not to be trusted: the next fold rebuilds it from history first.';
