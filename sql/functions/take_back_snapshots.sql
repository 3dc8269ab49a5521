create or replace function strata.take_back_snapshots(source_id smallint, from_block bigint, to_block bigint, min_time timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  taken bigint;
begin
  if min_time < (select greatest(s.observations_from, s.opened_before) from strata.balance_status s) then
    raise exception 'a reorg reaches back to snapshots of %, which, or whose balances, are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state', hint = 'Retain more weeks of snapshot_rows than reorgs are deep.';
  end if;
  perform strata.open_snapshots();
  perform strata.await_shards();
  -- The literal time prunes the weeks before the fork.
  execute format($take$
    with gone as (
      delete from strata.snapshot_rows r
       where r.source_id = %1$s and r.block_num >= %2$s and (%3$L is null or r.block_num <= %3$L) and r.observed_at >= %4$L
      returning r.account_address, r.asset_id, r.observed_at
    ), touched as (
      insert into pg_temp.snapshot_touched (account_address, asset_id, first, shrinks)
      select g.account_address, g.asset_id, strata.period_start(st.grain, min(g.observed_at)), true
        from gone g
        join strata.sources src on src.source_id = %1$s
        join strata.streams st on st.stream = src.stream
       group by g.account_address, g.asset_id, st.grain
    )
    select count(*) from gone
  $take$, source_id, from_block, to_block, coalesce(min_time, '-infinity')) into taken;
  return taken;
end
$$;

comment on function strata.take_back_snapshots(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s snapshots of blocks from_block to to_block (both inclusive; null is open) and notes whose balances that touches; the caller calls fold_snapshots() before it commits. None of them may be earlier than min_time. Returns the rows deleted.';
