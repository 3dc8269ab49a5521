create or replace function strata.note_snapshots_dropped(cutoff timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  update strata.balance_status set observations_from = greatest(observations_from, cutoff), changed_at = statement_timestamp();
end
$$;

comment on function strata.note_snapshots_dropped(timestamptz) is
  'Says that rows of snapshot_rows before the cutoff are gone: the balances they made stay as they are, and later arrivals of that time are quarantined.';
