--! Previous: sha1:ac5d7cb72c24aba9322b0029e766c3e8ee4e8fb7
--! Hash: sha1:067aee2917b259c8f56ce6ab7559b5babe51c132
--! Message: refinements

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
  taken  bigint;
  apart  record;
  beside bigint;
  grain  text;
begin
  if min_time < (select s.retained_from from strata.partition_sets s where s.set_name = 'balance_changes') then
    raise exception 'a reorg reaches back to balance changes of %, which are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Undo the retention of balance_changes, and retain more weeks of it than reorgs are deep.';
  end if;
  select st.grain into strict grain
    from strata.sources src join strata.streams st on st.stream = src.stream where src.source_id = take_back_changes.source_id;
  perform strata.open_deltas();
  perform strata.await_shards();
  if strata.topology() = 'citus' and exists (
    select from strata.parts_of('strata.balance_changes') w join pg_class c on c.oid = w.partition join pg_am a on a.oid = c.relam
     where a.amname = 'columnar' and w.upper_bound > coalesce(min_time, '-infinity')
  ) then
    -- Rows of a week that is stored by column cannot be deleted: such weeks are turned back, and left alone where nothing is to be deleted.
    select coalesce(min(c.block_time), 'infinity') into min_time from strata.balance_changes c
     where c.source_id = take_back_changes.source_id and c.block_num >= from_block and (to_block is null or c.block_num <= to_block)
       and c.block_time >= coalesce(min_time, '-infinity');
    perform strata.make_weeks_writable('balance_changes', min_time);
  end if;
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
  -- Of a week beside the set nothing is folded yet.
  for apart in
    select w.changes from strata.backfill_weeks w
     where w.state <> 'attached' and w.week_start + interval '168 hours' > coalesce(min_time, '-infinity') order by w.week_start for share
  loop
    execute format('delete from %s c where c.source_id = %s and c.block_num >= %s and (%4$L is null or c.block_num <= %4$L)',
      apart.changes, source_id, from_block, to_block);
    get diagnostics beside = row_count;
    taken := taken + beside;
  end loop;
  insert into pg_temp.taken_blocks values (take_back_changes.source_id, take_back_changes.from_block, take_back_changes.to_block);
  return taken;
end
$$;

comment on function strata.take_back_changes(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s changes of blocks from_block to to_block (both inclusive; null is open) and keeps them for fold_deltas(), which takes those that were folded back from the balances; call it before the commit. No change of these blocks may be earlier than min_time. Returns the changes deleted.';
--! EndIncluded functions/take_back_changes.sql

-- Of accounts the busiest twenty are told apart. To plan the look-up of one account unpacks these statistics for each week that it
-- might be in: with a hundred, and their histogram, a quarter of the planning. A cluster refuses this for tables that it has cut.
do $$
begin
  if strata.topology() = 'single' then
    alter table strata.account_balances alter column account_address set statistics 20;
    alter table strata.balance_changes alter column account_address set statistics 20;
  end if;
end
$$;

--! Included functions/build_week.sql
create or replace function strata.build_week(set_name text, lower_bound timestamptz, indexed boolean default true) returns regclass
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  s           strata.partition_sets;
  schema_name name;
  root        name;
  week        text := strata.week_name(set_name, lower_bound);
  upper_bound timestamptz := lower_bound + interval '168 hours';
  storage     text;
  leaf        record;
  part        text;
  cut         text;
begin
  select * into strict s from strata.partition_sets p where p.set_name = build_week.set_name;
  select n.nspname, c.relname into strict schema_name, root
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = s.parent;

  storage := case when s.leaf_fillfactor is null then '' else format(' with (fillfactor = %s)', s.leaf_fillfactor) end;
  -- On a cluster the shards of a week are its hash partitions.
  cut := case when strata.is_distributed(s.parent) then storage else format('partition by %s (%I)', s.layout, s.hash_column) end;
  -- CREATE … PARTITION OF would lock the root ACCESS EXCLUSIVE. Built apart with a CHECK that equals its bounds, the week is
  -- attached under SHARE UPDATE EXCLUSIVE and without a scan.
  execute format(
    'create table %1$I.%2$I (like %1$I.%3$I including all excluding identity %9$s, constraint %4$I check (%5$I >= %6$L and %5$I < %7$L)) %8$s',
    schema_name, week, root, week || '_bounds', s.time_column, lower_bound, upper_bound, cut,
    case when indexed then '' else 'excluding indexes' end);
  for leaf in
    select l.* from (
    select 'hash_' || remainder as name, format('for values with (modulus %s, remainder %s)', s.modulus, remainder) as bound
      from generate_series(0, s.modulus - 1) remainder where s.layout = 'hash'
    union all
    select g ->> 'name', format('for values in (%s)', (select string_agg(quote_literal(v), ', ') from jsonb_array_elements_text(g -> 'values') v))
      from jsonb_array_elements(s.groups) g
    union all
    select 'default', 'default' where s.layout = 'list') l where cut like 'partition by %'
  loop
    execute format('create table %1$I.%2$I partition of %1$I.%3$I %4$s%5$s', schema_name, week || '_' || leaf.name, week, leaf.bound, storage);
  end loop;
  -- LIKE leaves them behind.
  for part in
    select format('alter table %I.%I alter column %I set statistics %s', schema_name, week, a.attname, a.attstattarget)
      from pg_attribute a where a.attrelid = s.parent and a.attnum > 0 and not a.attisdropped and a.attstattarget >= 0
  loop
    execute part;
  end loop;
  -- Whoever owns the root can alter it only if the partitions are theirs, too.
  for part in
    select format('%I.%I', schema_name, p.relname) from pg_class p join pg_class r on r.oid = s.parent and r.relowner <> p.relowner
     where p.oid in (select t.relid from pg_partition_tree(format('%I.%I', schema_name, week)::regclass) t)
  loop
    execute format('alter table %s owner to %I', part, (select pg_get_userbyid(r.relowner) from pg_class r where r.oid = s.parent));
  end loop;
  return format('%I.%I', schema_name, week)::regclass;
end
$$;

comment on function strata.build_week(text, timestamptz, boolean) is
  'Creates one week with its hash or list partitions beside the set, with or without the set''s indexes; attach_week() makes it a part of the set. A list week has a partition of its own for values that no group names.';
--! EndIncluded functions/build_week.sql
--! Included functions/balance_at.sql
create or replace function strata.balance_at(account bytea, asset bigint, instant timestamptz) returns numeric
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
-- A cluster's coordinator writes instants as its session does, and the workers read ISO.
set datestyle = 'ISO'
set plan_cache_mode = force_custom_plan
-- Weeks are pruned by their bounds; to test the CHECKs that prove them takes a fifth of the planning.
set constraint_exclusion = off
as $$
declare
  of_asset record;
  period   timestamptz;
  dropped  timestamptz;
  last     record;
  ends     timestamptz;
  latest   numeric;
  within   numeric := 0;
  changes  bigint := 0;
begin
  select a.grain, a.observed into of_asset from strata.assets a where a.asset_id = asset;
  period := strata.period_start(of_asset.grain, instant);
  select case when of_asset.observed then s.observations_from else s.changes_from end into dropped from strata.balance_status s;
  select l.balance, l."timestamp" into last from strata.last_balance(account, asset, instant + interval '1 microsecond') l;
  -- A late row may have made an old week anew, without the changes that were dropped with it.
  if period is null or dropped > period then
    return coalesce(last.balance, 0);  -- exact to the period, not to the instant
  end if;
  if of_asset.observed then
    select r.balance into latest from strata.snapshot_rows r
     where r.account_address = account and r.asset_id = asset and r.observed_at between period and instant
     order by r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc limit 1;
    if latest is not null then
      return latest;
    end if;
  else
    select coalesce(sum(c.delta), 0), count(*) into within, changes from strata.balance_changes c
     where c.account_address = account and c.asset_id = asset and c.block_time between period and instant;
  end if;
  if last."timestamp" = period then
    if changes = 0 then
      -- Either the period's changes all came later, or they are gone with their week.
      ends := period + case of_asset.grain when 'hour' then interval '1 hour' else interval '24 hours' end;
      if of_asset.observed then
        perform from strata.snapshot_rows r
          where r.account_address = account and r.asset_id = asset and r.observed_at > instant and r.observed_at < ends limit 1;
      else
        perform from strata.balance_changes c
          where c.account_address = account and c.asset_id = asset and c.block_time > instant and c.block_time < ends limit 1;
      end if;
      if not found then
        return last.balance;
      end if;
    end if;
    select l.balance into last.balance from strata.last_balance(account, asset, period) l;
  end if;
  return coalesce(last.balance, 0) + within;
end
$$;

comment on function strata.balance_at(bytea, bigint, timestamptz) is
  'Balance of an account in an asset at an instant, its changes at that very instant included: the last period before, plus the changes since; of an observed balance the last snapshot. Where those changes or snapshots are no longer retained it is the balance at the end of the period.';
--! EndIncluded functions/balance_at.sql
--! Included analytics/last_balance.sql
create or replace function strata.last_balance(
  account bytea, asset bigint, cut timestamptz, out balance numeric, out "timestamp" timestamptz
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
-- A cluster's coordinator writes instants as its session does, and the workers read ISO.
set datestyle = 'ISO'
-- Planned for the values at hand: a plan for any account and any time would open every week.
set plan_cache_mode = force_custom_plan
-- Weeks are pruned by their bounds; to test the CHECKs that prove them takes a fifth of the planning.
set constraint_exclusion = off
as $$
#variable_conflict use_column
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
  state  record;
  upper  timestamptz := cut;
  lower  timestamptz;
  passed int := 0;
  stride int := 1;
begin
  select c.balance, c."timestamp" into state
    from strata.account_balances_current c where c.account_address = account and c.asset_id = asset;
  if (state."timestamp" is null or state."timestamp" < cut) and not strata.state_is_stale() then
    balance := state.balance;
    "timestamp" := state."timestamp";
    return;
  end if;
  -- The week of that time, then strides back that grow with the way: a statement costs little, but each week that it might need
  -- has to be planned. On a cluster each statement is a journey.
  if cut < opened then
    opened := '-infinity';
  end if;
  loop
    lower := greatest(opened, case
      when passed < 1000 and isfinite(upper) then strata.week_start(upper - interval '1 microsecond') - interval '7 days' * (stride - 1)
      else '-infinity' end);
    select b.balance, b."timestamp" into balance, "timestamp"
      from strata.account_balances b
     where b.account_address = account and b.asset_id = asset and b."timestamp" < upper and b."timestamp" >= lower
     order by b."timestamp" desc limit 1;
    if found then
      return;
    end if;
    exit when lower <= opened;
    upper := lower;
    passed := passed + stride;
    stride := 1 + passed / case when passed > 64 or strata.topology() = 'citus' then 1 else 8 end;
  end loop;
  select o.balance, o."timestamp" into balance, "timestamp"
    from strata.account_balances_opening o where o.account_address = account and o.asset_id = asset and o."timestamp" < cut;
end
$$;

comment on function strata.last_balance(bytea, bigint, timestamptz) is
  'The last balance row of a key before an instant, or the opening that retention carried forward; nulls where there is none. From the state where that is early enough, else week by week backwards: the cost does not grow with the history.';
--! EndIncluded analytics/last_balance.sql
