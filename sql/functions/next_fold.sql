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
    select b.start_block, b.end_block, b.row_count,
           b.start_block = coalesce(lag(b.end_block) over (order by b.start_block), done.block) + 1 as adjacent,
           sum(b.row_count) over (order by b.start_block) - b.row_count as rows_before
      from strata.stream_batches b, done
     where b.source_id = next_fold.source_id and b.start_block > done.block
  ), unbroken as (
    select w.*, bool_and(w.adjacent) over (order by w.start_block) as whole from waiting w
  )
  select min(u.start_block), max(u.end_block), sum(u.row_count)::bigint
    from unbroken u where (u.whole or across_gaps) and u.rows_before < rows_max;
end;

comment on function strata.next_fold(smallint, int, bigint, boolean) is
  'The next blocks of a source to fold for a hash partition of the state: behind what is folded, up to the first gap of the ledger (or across gaps: what fills one later is folded with its commit), about rows_max changes. Nulls when nothing waits.';
