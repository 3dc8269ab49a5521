create or replace function strata.take_back_changes(source_id smallint, from_block bigint, to_block bigint, min_time timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A deep fork of a busy chain is sorted and grouped in memory.
set work_mem = '64MB'
as $$
declare
  taken  bigint;
  apart  record;
  beside bigint;
  apart_taken bigint := 0;
  grain  text;
begin
  if min_time < (select s.retained_from from strata.partition_sets s where s.set_name = 'balance_changes') then
    raise exception 'a reorg reaches back to balance changes of %, which are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Undo the retention of balance_changes, and retain more weeks of it than reorgs are deep.';
  end if;
  select st.grain into strict grain
    from strata.sources src join strata.streams st on st.stream = src.stream where src.source_id = take_back_changes.source_id;
  perform strata.open_deltas();
  perform strata.await_shards();
  if strata.topology() = 'citus' and exists (
    select from strata.parts_of('strata.balance_changes') w join pg_class c on c.oid = w.partition join pg_am a on a.oid = c.relam
     where a.amname = 'columnar' and w.upper_bound > coalesce(min_time, '-infinity')
  ) then
    -- Rows of a week that is stored by column cannot be deleted: such weeks are turned back, and left alone where nothing is to be deleted.
    select coalesce(min(c.block_time), 'infinity') into min_time from strata.balance_changes c
     where c.source_id = take_back_changes.source_id and c.block_num >= from_block and (to_block is null or c.block_num <= to_block)
       and c.block_time >= coalesce(min_time, '-infinity');
    perform strata.make_weeks_writable('balance_changes', min_time);
  end if;
  -- Weeks beside the set first, and held there: one that was attached between the two would be in neither. Of these nothing is folded yet.
  for apart in
    select w.changes from strata.backfill_weeks w
     where w.state <> 'attached' and w.week_start + interval '168 hours' > coalesce(min_time, '-infinity') order by w.week_start for share
  loop
    execute format('delete from %s c where c.source_id = %s and c.block_num >= %s and (%4$L is null or c.block_num <= %4$L)',
      apart.changes, source_id, from_block, to_block);
    get diagnostics beside = row_count;
    apart_taken := apart_taken + beside;
  end loop;
  -- The literal time prunes the weeks before the fork. What of this was folded is decided under the lock of the fold, by
  -- stage_taken_back(): taken here already, that lock would be held while other rows are written, and deadlock with them.
  execute format($take$
    with gone as (
      delete from strata.balance_changes c
       where c.source_id = %1$s and c.block_num >= %2$s and (%3$L is null or c.block_num <= %3$L)
         and c.block_time >= %4$L
      returning c.account_address, c.asset_id, c.block_time, c.block_num, c.delta
    ), kept as (
      insert into pg_temp.taken_changes (source_id, account_address, asset_id, period, block_num, delta, change_count)
      -- period_start() spelt out: a call for each change would take longer than all the rest.
      select %1$s, g.account_address, g.asset_id, date_bin(interval '1 %5$s', g.block_time, timestamptz '1970-01-01 00:00:00+00'), g.block_num,
             -sum(g.delta), -count(*)
        from gone g
       group by 2, 3, 4, 5
    )
    select count(*) from gone
  $take$, source_id, from_block, to_block, coalesce(min_time, '-infinity'), grain) into taken;
  insert into pg_temp.taken_blocks values (take_back_changes.source_id, take_back_changes.from_block, take_back_changes.to_block);
  return taken + apart_taken;
end
$$;

comment on function strata.take_back_changes(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s changes of blocks from_block to to_block (both inclusive; null is open) and keeps them for fold_deltas(), which takes those that were folded back from the balances; call it before the commit. No change of these blocks may be earlier than min_time. Returns the changes deleted.';
