create or replace function strata.fold_changes(source_id smallint, from_block bigint, to_block bigint) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  perform strata.share_gates('account_balances');
  perform strata.stage_changes(source_id, from_block, to_block);
  return strata.fold_deltas();
end
$$;

comment on function strata.fold_changes(smallint, bigint, bigint) is
  'Folds the stored changes of a source''s blocks (both inclusive) into balances; returns the rows touched. For changes that were loaded without being folded: fold_progress tells which those are, fold_pending() goes by it.';
