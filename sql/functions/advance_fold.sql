create or replace function strata.advance_fold(source_id smallint, hash_partition int, folded_block bigint) returns void
language sql
set search_path = pg_catalog, strata, pg_temp
begin atomic
  insert into strata.fold_progress as p (source_id, hash_partition, folded_block)
  select advance_fold.source_id, h, advance_fold.folded_block
    from generate_series(coalesce(advance_fold.hash_partition, 0), coalesce(advance_fold.hash_partition, 3)) h
  on conflict on constraint fold_progress_pkey do update
    -- A span before what is folded may come later: it must not make that look unfolded.
    set folded_block = greatest(p.folded_block, excluded.folded_block), updated_at = clock_timestamp();
end;

comment on function strata.advance_fold(smallint, int, bigint) is
  'Says that all stored changes of a source up to a block are folded, for a hash partition of the state or (null) for all four.';
