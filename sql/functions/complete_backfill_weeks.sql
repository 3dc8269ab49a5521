create or replace function strata.complete_backfill_weeks(stream text)
returns table (week_start timestamptz, state text, leaves text[], complete boolean)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  with apart as (
    select w.week_start, w.week_start + interval '168 hours' as week_end, w.state, w.changes from strata.backfill_weeks w where w.state <> 'attached'
  ), ledger as (
    select b.source_id, src.stream, b.start_block, b.min_time, b.max_time,
           lag(b.end_block) over (partition by b.source_id order by b.start_block) + 1 < b.start_block as behind_gap
      from strata.stream_batches b
      join strata.sources src on src.source_id = b.source_id
      join strata.streams st on st.stream = src.stream and st.load = 'transfers'
  ), unbroken as (
    select l.*, coalesce(bool_or(l.behind_gap) over (partition by l.source_id order by l.start_block), false) as beyond from ledger l
  ), reached as (
    select u.source_id, u.stream, max(u.max_time) filter (where not u.beyond) as newest from unbroken u group by u.source_id, u.stream
  )
  select a.week_start, a.state, (select array_agg(format('%I.%I', n.nspname, c.relname) order by i.inhrelid)
            from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace where i.inhparent = a.changes),
         not exists (
           select from reached r
            where (r.newest is null or r.newest < a.week_end)
              and (r.stream = complete_backfill_weeks.stream
                   or exists (select from ledger l where l.source_id = r.source_id and l.min_time < a.week_end and l.max_time >= a.week_start)))
    from apart a
   where exists (select from reached r where r.stream = complete_backfill_weeks.stream)
   order by a.week_start;
end;

comment on function strata.complete_backfill_weeks(text) is
  'The weeks that stand beside balance_changes, oldest first, and whether they are complete: the ledger of the stream, and of every other one with rows in the week, has passed the end of the week without a gap. Time rises with the blocks; a row that comes later all the same is loaded like any late one.';
