--! Previous: sha1:af5ea603f2290d32931279f0b3ec6772b1d7e672
--! Hash: sha1:b673093543ef76f8a9db220afc00f504e0785db3

alter table strata.stream_health add column catch_up jsonb;
comment on column strata.stream_health.catch_up is 'While history is loaded in partitions: blocks done and in all (of those that were missing), and what each worker is loading (to is exclusive); null otherwise';

--! Included views/stream_status.sql
create or replace view strata.stream_status as
select coalesce(p.stream, h.stream) as stream, p.network, p.load, p.target,
       case when h.state <> 'stopped' and h.updated_at < now() - interval '2 minutes' then 'lost' else h.state end as state,
       p.position, p.hash, p.block_time,
       case when h.heads ? p.network then greatest((h.heads ->> p.network)::bigint, p.position) end as head,
       case when h.heads ? p.network then greatest((h.heads ->> p.network)::bigint - p.position, 0) end as lag_blocks,
       extract(epoch from now() - p.block_time)::double precision as lag_seconds,
       p.batches, p.row_count, p.quarantined, p.unmatched, p.last_commit,
       recent.row_count / 60.0::double precision as rows_per_second,
       recent.blocks / 60.0::double precision as blocks_per_second,
       gaps.gaps, gaps.gap_blocks,
       h.failures, h.retries, h.next_try_at, h.last_error, h.breaker, h.rate_delay_ms, h.updated_at as seen_at, h.host, h.pid,
       case when h.catch_up ->> 'network' = p.network and h.state = 'running' then h.catch_up end as catch_up
  from strata.stream_positions p
  full join strata.stream_health h on h.stream = p.stream
  -- The newest thousand ranges hold the last minute of all but the smallest batches.
  left join lateral (
    select coalesce(sum(b.row_count), 0)::double precision as row_count,
           coalesce(sum(b.end_block - b.start_block + 1), 0)::double precision as blocks
      from (select row_count, start_block, end_block, committed_at from strata.stream_batches
             where source_id = p.source_id order by start_block desc limit 1000) b
     where b.committed_at > now() - interval '1 minute'
  ) recent on p.source_id is not null
  left join lateral (
    select count(*) as gaps, coalesce(sum(b.start_block - b.reached - 1), 0)::bigint as gap_blocks
      from (select start_block,
                   max(end_block) over (order by start_block rows between unbounded preceding and 1 preceding) as reached
              from strata.stream_batches where source_id = p.source_id) b
     where b.start_block > b.reached + 1
  ) gaps on p.source_id is not null;

comment on view strata.stream_status is 'Each stream and network: position, head, lag, rate of the last minute, gaps, what its process said last, and what its workers do. lag_seconds is the age of the newest loaded block by the chain''s own time';
--! EndIncluded views/stream_status.sql
--! Included functions/drop_emptied_periods.sql
create or replace function strata.drop_emptied_periods(earliest timestamptz, latest timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  excess record;
begin
  -- Whatever counts the planner has seen, it must not believe that next to no row is empty, and read all rows of the
  -- periods once for each delta: that is what the case expressions are for. Each delta looks for its own row by its key.
  execute format($fold$
    delete from strata.account_balances b
     using pg_temp.late_deltas l
     where l.change_count < 0 and b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" = l.period and b."timestamp" between %1$L and %2$L
       and case when b.change_count = 0 then true end
  $fold$, earliest, latest);

  execute format($fold$
    select b.account_address, b.asset_id, b."timestamp"
      from pg_temp.late_deltas l
      join strata.account_balances b
        on b.account_address = l.account_address and b.asset_id = l.asset_id and b."timestamp" = l.period
     where l.change_count < 0 and b."timestamp" between %1$L and %2$L
       and case when b.change_count < 0 then true end limit 1
  $fold$, earliest, latest) into excess;
  if excess.asset_id is not null then
    raise exception 'more changes were taken back than folded: account %, asset %, period %',
      strata.account_text(excess.account_address), excess.asset_id, excess."timestamp"
      using errcode = 'integrity_constraint_violation', hint = 'Run pgstrata verify, then pgstrata rebuild for the keys it names.';
  end if;
end
$$;

comment on function strata.drop_emptied_periods(timestamptz, timestamptz) is
  'The part of fold_late_deltas() for changes taken back: rows that lost their last change go; a row that would owe changes is an error.';
--! EndIncluded functions/drop_emptied_periods.sql
--! Included functions/take_back_changes.sql
create or replace function strata.take_back_changes(source_id smallint, from_block bigint, to_block bigint, min_time timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A deep fork of a busy chain is sorted and grouped in memory.
set work_mem = '64MB'
as $$
declare
  taken bigint;
begin
  if min_time < (select s.retained_from from strata.partition_sets s where s.set_name = 'balance_changes') then
    raise exception 'a reorg reaches back to balance changes of %, which are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Undo the retention of balance_changes, and retain more weeks of it than reorgs are deep.';
  end if;
  perform strata.open_deltas();
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
      select %1$s, g.account_address, g.asset_id, strata.period_start(st.grain, g.block_time), g.block_num, -sum(g.delta), -count(*)
        from gone g
        join strata.sources src on src.source_id = %1$s
        join strata.streams st on st.stream = src.stream
       group by 2, 3, 4, 5
    )
    select count(*) from gone
  $take$, source_id, from_block, to_block, coalesce(min_time, '-infinity')) into taken;
  insert into pg_temp.taken_blocks values (take_back_changes.source_id, take_back_changes.from_block, take_back_changes.to_block);
  return taken;
end
$$;

comment on function strata.take_back_changes(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s changes of blocks from_block to to_block (both inclusive; null is open) and keeps them for fold_deltas(), which takes those that were folded back from the balances; call it before the commit. No change of these blocks may be earlier than min_time. Returns the changes deleted.';
--! EndIncluded functions/take_back_changes.sql
