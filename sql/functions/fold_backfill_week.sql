create or replace function strata.fold_backfill_week(week_start timestamptz, week regclass, whole boolean, out folded text, out balance_rows bigint, out change_rows bigint)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  sources record;
  passed  boolean;
  ahead   boolean := not whole;
  parts   int := (select count(*) from pg_inherits i where i.inhparent = 'strata.account_balances_current'::regclass);
begin
  create temp table if not exists backfill_sources (source_id smallint, last_block bigint, change_rows bigint) on commit delete rows;
  execute format('insert into pg_temp.backfill_sources select c.source_id, max(c.block_num), count(*) from %s c group by 1', week);
  select coalesce(sum(s.change_rows), 0) into change_rows from pg_temp.backfill_sources s;

  -- The watermark of each source goes to its last block in the week: nothing of the set in front of that may wait to be folded.
  for sources in
    select s.source_id, s.last_block, p.folded_block, t.earliest, t.latest
      from pg_temp.backfill_sources s
     cross join lateral (
       select coalesce((select min(f.folded_block) from strata.fold_progress f where f.source_id = s.source_id having count(*) = parts), -1) as folded_block
     ) p
     cross join lateral (
       select min(b.min_time) as earliest, max(b.max_time) as latest from strata.stream_batches b
        where b.source_id = s.source_id and b.end_block > p.folded_block and b.start_block <= s.last_block
     ) t
  loop
    execute format($rest$
      select exists (select from strata.balance_changes c
                      where c.source_id = %1$s and c.block_num > %2$s and c.block_num <= %3$s
                        and ((c.block_time >= %4$L and c.block_time < %6$L) or (c.block_time >= %7$L and c.block_time <= %5$L)))
    $rest$, sources.source_id, sources.folded_block, sources.last_block, sources.earliest, sources.latest,
      week_start, week_start + interval '168 hours') into passed;
    ahead := ahead or passed;
  end loop;

  if not ahead then
    begin
      balance_rows := strata.fold_week(week_start);
      perform strata.advance_fold(s.source_id, null, s.last_block) from pg_temp.backfill_sources s;
      folded := 'whole';
      delete from pg_temp.backfill_sources;
      return;
    exception when object_not_in_prerequisite_state or undefined_table then
      -- Balances are at or behind this week already, or their week is no longer retained.
      null;
    end;
  end if;

  delete from pg_temp.backfill_sources;
  perform strata.open_deltas();
  -- What lies in front of the watermark will not be met again; all else waits for fold_pending().
  execute format($late$
    insert into pg_temp.balance_deltas (account_address, asset_id, period, delta, change_count)
    select c.account_address, c.asset_id, strata.period_start(st.grain, c.block_time), sum(c.delta), count(*)
      from %s c
      join strata.sources src on src.source_id = c.source_id
      join strata.streams st on st.stream = src.stream
      join strata.fold_progress p on p.source_id = c.source_id and c.block_num <= p.folded_block
       and satisfies_hash_partition('strata.account_balances_current'::regclass, %s, p.hash_partition, c.account_address)
     group by 1, 2, 3
  $late$, week, parts);
  balance_rows := strata.fold_deltas();
  folded := case when whole then 'late' else 'no' end;
end
$$;

comment on function strata.fold_backfill_week(timestamptz, regclass, boolean) is
  'Folds a week that was just attached: whole, where that is wanted and everything before it is folded and nothing behind it; else what lies in front of the watermark of its source, and the rest is left to fold_pending(). Until a week is attached none of its rows is folded, whatever the watermark says.';
