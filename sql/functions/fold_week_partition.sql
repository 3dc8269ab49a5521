create or replace function strata.fold_week_partition(week_start timestamptz, remainder int) returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  folded bigint;
begin
  perform strata.refuse_on_cluster('folding a hash partition of a week', 'fold_changes() and fold_pending() fold inside the shards: run pgstrata fold');
  perform strata.share_gates('account_balances');
  folded := strata.fill_week_partition(week_start, remainder);
  perform strata.place_week_partition(week_start, remainder);
  return folded;
end
$$;

comment on function strata.fold_week_partition(timestamptz, int) is
  'fold_week() for one hash partition of the week, so that several connections can share the work; returns the balance rows written. The week must exist.';
