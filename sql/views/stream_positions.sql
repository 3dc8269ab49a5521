create or replace view strata.stream_positions as
select s.stream, src.network, src.source_id, s.load, s.target,
       last.end_block as position, last.hash, last.block_time,
       sums.batches, sums.row_count, sums.quarantined, sums.first_block, sums.last_commit,
       sums.unmatched, sums.dropped
  from strata.streams s
  left join strata.sources src on src.stream = s.stream
  left join lateral (
    select end_block, hash, block_time from strata.stream_batches b
     where b.source_id = src.source_id order by start_block desc limit 1
  ) last on true
  left join lateral (
    select count(*) as batches, sum(row_count)::bigint as row_count, sum(quarantined)::bigint as quarantined,
           min(start_block) as first_block, max(committed_at) as last_commit,
           sum(unmatched)::bigint as unmatched, sum(dropped)::bigint as dropped
      from strata.stream_batches b where b.source_id = src.source_id
  ) sums on true;

comment on view strata.stream_positions is 'Where each stream stands on each network: the last committed block, and what was loaded so far';
