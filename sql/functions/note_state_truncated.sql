create or replace function strata.note_state_truncated() returns trigger
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  perform strata.mark_state_stale(format('%I was truncated', tg_table_name));
  return null;
end
$$;

comment on function strata.note_state_truncated() is
  'Trigger on the leaves of account_balances_current: part of the state is gone, so none of it may seed a fold.';
