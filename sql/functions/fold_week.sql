create or replace function strata.fold_week(week_start timestamptz) returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  folded bigint := 0;
  parts  int[];
  part   int;
begin
  perform strata.refuse_on_cluster('folding a week whole', 'fold_changes() and fold_pending() fold inside the shards: run pgstrata fold');
  perform strata.share_gates('account_balances');
  perform strata.lock_fold();
  perform strata.ensure_weeks('account_balances', week_start, week_start);
  select array_agg(l.remainder order by l.remainder) into parts
    from strata.week_leaves('account_balances', strata.week_start(week_start)) l;
  -- The week is locked from the first partition put in place: all are filled before.
  foreach part in array parts loop
    folded := folded + strata.fill_week_partition(week_start, part);
  end loop;
  foreach part in array parts loop
    perform strata.place_week_partition(week_start, part);
  end loop;
  return folded;
end
$$;

comment on function strata.fold_week(timestamptz) is
  'Folds a whole week of changes, of all sources, into balances that do not reach that week yet; returns the balance rows written. The bulk form of fold_deltas(): weeks in order give the same tables. None of these changes may have been folded before. To use several cores call fold_week_partition() for each hash partition on a connection of its own.';
