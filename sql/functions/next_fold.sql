create or replace function strata.next_fold(
  source_id smallint, hash_partition int, rows_max bigint, across_gaps boolean, out from_block bigint, out to_block bigint, out row_count bigint
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  with done as (
    select coalesce(
      (select p.folded_block from strata.fold_progress p
        where p.source_id = next_fold.source_id and p.hash_partition = next_fold.hash_partition),
      (select min(b.start_block) - 1 from strata.stream_batches b where b.source_id = next_fold.source_id)) as block
  ), waiting as (
    -- The fold of a whole week leaves the watermark inside a range.
    select greatest(b.start_block, done.block + 1) as start_block, b.end_block, b.row_count, b.max_time,
           b.start_block <= coalesce(lag(b.end_block) over (order by b.start_block), done.block) + 1 as adjacent,
           sum(b.row_count) over (order by b.start_block) - b.row_count as rows_before
      from strata.stream_batches b, done
     where b.source_id = next_fold.source_id and b.end_block > done.block
  ), apart as (
    -- Weeks beside the set are folded whole, if nothing behind them is folded before.
    select min(coalesce((w.first_blocks ->> next_fold.source_id::text)::bigint,
                        (select min(r.start_block) from waiting r where r.max_time >= w.week_start))) as block
      from strata.backfill_weeks w where w.state <> 'attached' and not across_gaps
  ), unbroken as (
    select w.*, bool_and(w.adjacent) over (order by w.start_block) as whole from waiting w
  )
  select min(u.start_block), max(least(u.end_block, a.block - 1)), sum(u.row_count)::bigint
    from unbroken u, apart a where (u.whole or across_gaps) and u.rows_before < rows_max and (a.block is null or u.start_block < a.block);
end;

comment on function strata.next_fold(smallint, int, bigint, boolean) is
  'The next blocks of a source to fold for a hash partition of the state: behind what is folded, up to the first gap of the ledger (or across gaps: what fills one later is folded with its commit), about rows_max changes. In block order it stops before the weeks that stand beside the set. Nulls when nothing waits.';
