create or replace function strata.waiting_since() returns timestamptz
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select least(min(b.min_time), (select min(w.week_start) from strata.backfill_weeks w where w.state <> 'attached'))
    from strata.stream_batches b
    join strata.sources src on src.source_id = b.source_id
    join strata.streams st on st.stream = src.stream and st.load = 'transfers'
   where b.end_block > coalesce(
     (select case count(*) when 4 then min(p.folded_block) end from strata.fold_progress p where p.source_id = b.source_id), -1);
end;

comment on function strata.waiting_since() is
  'The time of the earliest loaded balance change that may wait to be folded; null when none does. A week that is loaded beside the set waits whole. Retention keeps what is later.';
