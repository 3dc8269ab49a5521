create or replace function strata.fold_pending(
  source_id smallint, hash_partition int, rows_max bigint default 500000, across_gaps boolean default false,
  out to_block bigint, out row_count bigint
)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  next record;
  part int;
begin
  perform strata.share_gates('account_balances');
  -- On a cluster all shards fold at once: whichever partition is asked for, the next blocks of all are folded.
  part := case when strata.topology() = 'single' then hash_partition end;
  if part is null then
    perform set_config('citus.multi_shard_modify_mode', 'parallel', true);  -- much work, and nothing but a fold in this transaction
  end if;
  perform strata.lock_fold(part);
  select n.* into next from strata.next_fold(source_id, hash_partition, rows_max, across_gaps) n;
  if next.to_block is null then
    return;
  end if;
  perform strata.stage_changes(source_id, next.from_block, next.to_block, part);
  perform strata.fold_deltas(part);
  perform strata.advance_fold(source_id, part, next.to_block);
  to_block := next.to_block;
  row_count := next.row_count;
end
$$;

comment on function strata.fold_pending(smallint, int, bigint, boolean) is
  'Folds the next loaded but not yet folded changes of a source for one hash partition of the state (0 to 3), in block order, up to the first gap unless told to go across; says how far it came, nulls when nothing waited. Four callers may work side by side, one per partition.';
