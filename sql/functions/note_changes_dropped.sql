create or replace function strata.note_changes_dropped(cutoff timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  update strata.balance_status set changes_from = greatest(changes_from, cutoff), changed_at = statement_timestamp();
end
$$;

comment on function strata.note_changes_dropped(timestamptz) is
  'Says that balance changes before the cutoff are gone: verify and rebuild start there, from the balances that were stored by then.';
