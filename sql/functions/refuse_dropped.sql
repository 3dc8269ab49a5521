create or replace function strata.refuse_dropped(set_name text, source_id smallint, from_block bigint, to_block bigint) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  earliest timestamptz;
  retained timestamptz;
begin
  -- Retention moves on under this lock: whoever has got it sees either all of a retention or nothing.
  perform strata.lock_fold();
  select min(b.min_time) into earliest from strata.stream_batches b
   where b.source_id = refuse_dropped.source_id and b.start_block between from_block and to_block;
  select s.retained_from into retained from strata.partition_sets s where s.set_name = refuse_dropped.set_name;
  if earliest < retained then
    raise exception 'retention has meanwhile dropped the weeks of % before %; these rows begin at %', refuse_dropped.set_name, retained, earliest
      using errcode = 'serialization_failure', hint = 'Load again: rows of that time go to quarantine.';
  end if;
end
$$;

comment on function strata.refuse_dropped(text, smallint, bigint, bigint) is
  'Refuses to commit blocks (both inclusive, their ledger rows written) with rows of a time that retention has dropped since they were read; a load calls it before its fold. Takes the lock of the fold.';
