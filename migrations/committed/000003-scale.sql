--! Previous: sha1:2a8fe3f612a2c086c8f303e6a32b6ad10fbe2ee3
--! Hash: sha1:036dedebe73482dd5b8c2cc9ee9370aff82d696c
--! Message: scale

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
  grain text;
begin
  if min_time < (select s.retained_from from strata.partition_sets s where s.set_name = 'balance_changes') then
    raise exception 'a reorg reaches back to balance changes of %, which are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Undo the retention of balance_changes, and retain more weeks of it than reorgs are deep.';
  end if;
  select st.grain into strict grain
    from strata.sources src join strata.streams st on st.stream = src.stream where src.source_id = take_back_changes.source_id;
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
      -- period_start() spelt out: a call for each change would take longer than all the rest.
      select %1$s, g.account_address, g.asset_id, date_bin(interval '1 %5$s', g.block_time, timestamptz '1970-01-01 00:00:00+00'), g.block_num,
             -sum(g.delta), -count(*)
        from gone g
       group by 2, 3, 4, 5
    )
    select count(*) from gone
  $take$, source_id, from_block, to_block, coalesce(min_time, '-infinity'), grain) into taken;
  insert into pg_temp.taken_blocks values (take_back_changes.source_id, take_back_changes.from_block, take_back_changes.to_block);
  return taken;
end
$$;

comment on function strata.take_back_changes(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s changes of blocks from_block to to_block (both inclusive; null is open) and keeps them for fold_deltas(), which takes those that were folded back from the balances; call it before the commit. No change of these blocks may be earlier than min_time. Returns the changes deleted.';
--! EndIncluded functions/take_back_changes.sql
--! Included functions/stage_taken_back.sql
create or replace function strata.stage_taken_back() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if not exists (select from pg_temp.taken_changes) and not exists (select from pg_temp.taken_blocks) then
    return;
  end if;
  -- Only what was folded is taken back; under the lock nobody folds more of it.
  perform strata.lock_fold();
  -- Sources that are folded evenly, as live ones are, need not ask for each change which partition it is of.
  insert into pg_temp.balance_deltas (account_address, asset_id, period, delta, change_count)
  select t.account_address, t.asset_id, t.period, sum(t.delta), sum(t.change_count)
    from pg_temp.taken_changes t
    join (select p.source_id, case count(*) when 4 then min(p.folded_block) end as everywhere, max(p.folded_block) as anywhere
            from strata.fold_progress p group by p.source_id) f
      on f.source_id = t.source_id and t.block_num <= f.anywhere
   where case when t.block_num <= f.everywhere then true else exists (
           select from strata.fold_progress p
            where p.source_id = t.source_id and t.block_num <= p.folded_block
              and satisfies_hash_partition('strata.account_balances_current'::regclass, 4, p.hash_partition, t.account_address)) end
   group by t.account_address, t.asset_id, t.period;
  -- A fork may be taken back in two parts, the batch that it cuts and all behind it: progress goes back to the first.
  update strata.fold_progress p set folded_block = t.from_block - 1
    from (select b.source_id, min(b.from_block) as from_block from pg_temp.taken_blocks b
           group by b.source_id having bool_or(b.to_block is null)) t
   where p.source_id = t.source_id and p.folded_block >= t.from_block;
  delete from pg_temp.taken_changes;
  delete from pg_temp.taken_blocks;
end
$$;

comment on function strata.stage_taken_back() is
  'Stages what take_back_changes() has deleted and what of it was folded, and sets the fold''s progress back; fold_deltas() begins with it.';
--! EndIncluded functions/stage_taken_back.sql
--! Included functions/drop_emptied_periods.sql
create or replace function strata.drop_emptied_periods(earliest timestamptz, latest timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
-- Rows of the periods that are read once and then gone through for each delta are as many comparisons as the product of both.
set enable_material = off
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
--! Included functions/fold_late_state.sql
create or replace function strata.fold_late_state() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
begin
  insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
  select account_address, asset_id, sum(delta), max(period)
    from pg_temp.late_deltas where not state_done group by account_address, asset_id having min(change_count) >= 0
   order by account_address, asset_id
  on conflict (account_address, asset_id) do update
    set balance = c.balance + excluded.balance, "timestamp" = greatest(c."timestamp", excluded."timestamp");

  if not exists (select from pg_temp.late_deltas where change_count < 0) then
    return;
  end if;
  -- Where changes were taken back the newest row may be gone: the state is what is left, and goes with the last of it.
  with shrunk as materialized (
    select account_address, asset_id from pg_temp.late_deltas
     group by account_address, asset_id having min(change_count) < 0
  ), newest as materialized (
    select k.account_address, k.asset_id, coalesce(r."timestamp", o."timestamp") as "timestamp", coalesce(r.balance, o.balance) as balance
      from shrunk k
      left join lateral (
        select b."timestamp", b.balance from strata.account_balances b
         where b.account_address = k.account_address and b.asset_id = k.asset_id and b."timestamp" >= opened
         order by b."timestamp" desc limit 1
      ) r on true
      left join strata.account_balances_opening o on o.account_address = k.account_address and o.asset_id = k.asset_id
  ), gone as (
    delete from strata.account_balances_current c using newest n
     where c.account_address = n.account_address and c.asset_id = n.asset_id and n."timestamp" is null
  )
  insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
  select n.account_address, n.asset_id, n.balance, n."timestamp" from newest n where n."timestamp" is not null
   order by n.account_address, n.asset_id
  on conflict (account_address, asset_id) do update set balance = excluded.balance, "timestamp" = excluded."timestamp";
end
$$;

comment on function strata.fold_late_state() is
  'The part of fold_deltas() that brings the state of late and shrunk keys in line with their history.';
--! EndIncluded functions/fold_late_state.sql
