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
       h.started_at, h.work, h.reorgs,
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
