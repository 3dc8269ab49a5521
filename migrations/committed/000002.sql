--! Previous: sha1:af5ea603f2290d32931279f0b3ec6772b1d7e672
--! Hash: sha1:8ed5934571958b62c6182489db23f86e0be0a4ea

-- Checked for each of its rows, the key made retention hold up folds for a third longer; the rows go where their retention
-- does (drop_held, undo_retention), and that is never deleted.
alter table strata.held_openings drop constraint held_openings_retention_id_fkey;

--! Included functions/fill_week_partition.sql
create or replace function strata.fill_week_partition(week_start timestamptz, remainder int) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
set maintenance_work_mem = '256MB'
-- Most keys of the state take part: reading it whole beats a look-up per key.
set enable_nestloop = off
as $$
declare
  lower_bound timestamptz := strata.week_start(week_start);
  upper_bound timestamptz := strata.week_start(week_start) + interval '168 hours';
  target      record;
  changes     text;
  own         text;
  state       text;
  step        text;
  behind      boolean;
  filled      regclass;
  folded      bigint;
begin
  select l.* into target from strata.week_leaves('account_balances', lower_bound) l where l.remainder = fill_week_partition.remainder;
  if target.leaf is null then
    raise exception 'the week of % has no hash partition %', lower_bound, remainder
      using errcode = 'undefined_table', hint = 'Call ensure_weeks() first; a consolidated week takes fold_changes().';
  end if;
  -- The state has four hash partitions; where the week has as many, each fold locks its own.
  perform strata.lock_fold(case when target.modulus = 4 then remainder end);
  perform strata.heal_state();
  own := format('satisfies_hash_partition(%s, %s, %s, account_address)',
    case when target.modulus = 4 then 'strata.account_balances_current'::regclass::oid else target.week::oid end, target.modulus, remainder);

  select coalesce(min(i.inhrelid::regclass::text), 'strata.account_balances_current') into state
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = 'strata.account_balances_current'::regclass
     and pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES WITH (modulus %s, remainder %s)', target.modulus, remainder);

  -- Asked of the state, which knows the newest row of each key, and not of the week itself: a lock on the week, shared by two
  -- that fill their partitions at once, would keep both from putting theirs in place.
  execute format($check$
    select exists (
      select from %3$s s join strata.assets a on a.asset_id = s.asset_id and not a.observed
       where s."timestamp" >= %1$L and %2$s)
  $check$, lower_bound, case when state = 'strata.account_balances_current' then own else 'true' end, state) into behind;
  if behind then
    raise exception 'there are balances at or behind the week of % already', lower_bound
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Whole weeks are folded in order into empty weeks; fold_changes() folds into what is there.';
  end if;

  -- Changes that are cut like the balances are read from one leaf, others by their hash.
  select format('%s c', l.leaf) into changes
    from strata.week_leaves('balance_changes', lower_bound) l
   where l.modulus = target.modulus and l.remainder = fill_week_partition.remainder;
  changes := coalesce(changes, format(
    'strata.balance_changes c where c.block_time >= %1$L and c.block_time < %2$L and %3$s', lower_bound, upper_bound, own));

  -- One grain for all assets, the usual case, need not be looked up change by change.
  select case when count(distinct a.grain) = 1 then format('interval %L', '1 ' || min(a.grain))
              else '(select case a.grain when ''hour'' then interval ''1 hour'' else interval ''1 day'' end from strata.assets a where a.asset_id = c.asset_id)' end
    into step from strata.assets a where not a.observed;

  filled := strata.open_fresh_leaf(target.leaf);
  -- One sort and one window: the last change of a period has its balance, and its place among its peers is their number.
  execute format($fold$
    insert into %1$s (account_address, asset_id, "timestamp", balance, change_count)
    select p.account_address, p.asset_id, p.period, coalesce(s.balance, 0) + p.so_far, p.change_count
      from (
        select c.account_address, c.asset_id, c.period, sum(c.delta) over so_far as so_far,
               (row_number() over so_far - rank() over so_far)::int + 1 as change_count, lead(c.period) over so_far as next_period
          from (select c.account_address, c.asset_id, date_bin(%4$s, c.block_time, timestamptz '1970-01-01 00:00:00+00') as period, c.delta
                  from %2$s) c
        window so_far as (partition by c.account_address, c.asset_id order by c.period rows unbounded preceding)
      ) p
      left join %3$s s on s.account_address = p.account_address and s.asset_id = p.asset_id
     where p.next_period is distinct from p.period
     order by p.account_address, p.asset_id, p.period
  $fold$, filled, changes, state, step);
  get diagnostics folded = row_count;
  if filled <> target.leaf then
    perform strata.build_indexes_like(target.leaf, filled);
    execute format('analyze %s (account_address)', filled);
  end if;

  perform strata.advance_state(filled, state::regclass);
  return folded;
end
$$;

comment on function strata.fill_week_partition(timestamptz, int) is
  'The first half of fold_week_partition(): balances of one hash partition of the week, in a table beside the set with all its indexes, and the state after them; returns the balance rows. Where the partition has rows already (snapshots), they go straight into it.';
--! EndIncluded functions/fill_week_partition.sql
--! Included functions/place_week_partition.sql
create or replace function strata.place_week_partition(week_start timestamptz, remainder int) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  place       record;
  schema_name name;
  leaf_name   name;
  fresh       regclass;
  index_name  name;
begin
  select l.* into strict place
    from strata.week_leaves('account_balances', strata.week_start(week_start)) l where l.remainder = place_week_partition.remainder;
  select n.nspname, c.relname into strict schema_name, leaf_name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = place.leaf;
  fresh := to_regclass(format('%I.%I', schema_name, 'fresh_' || place.leaf::oid));
  if fresh is null then
    return;
  end if;
  -- Whoever checks a hash holds the week until commit: one after the other, or two would wait for each other.
  perform pg_advisory_xact_lock(strata.advisory_key('place ' || place.week::oid));
  -- Proved before the week is locked, so that ATTACH need not scan.
  execute format('alter table %s add constraint fresh_hash check (satisfies_hash_partition(%s, %s, %s, account_address))',
    fresh, place.week::oid, place.modulus, place.remainder);
  execute format('alter table %s detach partition %s', place.week, place.leaf);
  execute format('drop table %s', place.leaf);
  for index_name in select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = fresh and c.relname like 'fresh%' loop
    execute format('alter index %I.%I rename to %I', schema_name, index_name, replace(index_name, 'fresh_' || place.leaf::oid, leaf_name));
  end loop;
  execute format('alter table %s rename to %I', fresh, leaf_name);
  execute format('alter table %s attach partition %s for values with (modulus %s, remainder %s)',
    place.week, fresh, place.modulus, place.remainder);
  execute format('alter table %s drop constraint fresh_hash', fresh);
end
$$;

comment on function strata.place_week_partition(timestamptz, int) is
  'The second half of fold_week_partition(): puts the table that was filled beside the set into the place of the empty partition, without a scan.';
--! EndIncluded functions/place_week_partition.sql
--! Included functions/advance_state.sql
create or replace function strata.advance_state(balances regclass, state regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
-- The primary key, read backwards, has the newest row of each key first; to sort all rows again would take three times as long.
set enable_sort = off
set enable_mergejoin = off
as $$
begin
  execute format($state$
    with newest as materialized (
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from %1$s where change_count > 0
       order by account_address desc, asset_id desc, "timestamp" desc
    ), known as (
      update %2$s s set balance = n.balance, "timestamp" = n."timestamp"
        from newest n where s.account_address = n.account_address and s.asset_id = n.asset_id
      returning s.account_address, s.asset_id
    )
    insert into %2$s (account_address, asset_id, balance, "timestamp")
    select n.account_address, n.asset_id, n.balance, n."timestamp"
      from newest n left join known k on k.account_address = n.account_address and k.asset_id = n.asset_id
     where k.asset_id is null
     order by n.account_address, n.asset_id
  $state$, balances, state);
end
$$;

comment on function strata.advance_state(regclass, regclass) is
  'Brings the state (or one partition of it) to the newest rows of a table of balances that are newer than all it knows of their keys.';
--! EndIncluded functions/advance_state.sql
--! Included functions/stage_changes.sql
create or replace function strata.stage_changes(source_id smallint, from_block bigint, to_block bigint, hash_partition int default null) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  grain    text;
  earliest timestamptz;
  latest   timestamptz;
  unknown  bigint;
begin
  select st.grain into strict grain
    from strata.sources src join strata.streams st on st.stream = src.stream where src.source_id = stage_changes.source_id;
  select min(b.min_time), max(b.max_time) into earliest, latest
    from strata.stream_batches b
   where b.source_id = stage_changes.source_id and b.end_block >= from_block and b.start_block <= to_block;
  perform strata.open_deltas();
  if earliest is null then
    return;
  end if;
  -- Literal times: the ledger knows when the rows of these blocks are, so that other weeks are not even planned for.
  execute format($stage$
    insert into pg_temp.balance_deltas (account_address, asset_id, period, delta, change_count)
    select account_address, asset_id, date_bin(interval '1 %4$s', block_time, timestamptz '1970-01-01 00:00:00+00'), sum(delta), count(*)
      from strata.balance_changes
     where source_id = %1$s and block_num between %2$s and %3$s and block_time between %5$L and %6$L
       and (%7$L is null or satisfies_hash_partition('strata.account_balances_current'::regclass, 4, %7$L, account_address))
     group by 1, 2, 3
  $stage$, source_id, from_block, to_block, grain, earliest, latest, hash_partition);

  -- A balance of nothing that has a name is shown by no view and checked by no sum.
  select d.asset_id into unknown
    from (select distinct b.asset_id from pg_temp.balance_deltas b) d
   where not exists (select from strata.assets a where a.asset_id = d.asset_id) limit 1;
  if unknown is not null then
    raise exception 'changes of blocks % to % are in asset %, which strata.assets does not have', from_block, to_block, unknown
      using errcode = 'foreign_key_violation',
            hint = 'Insert it there: its id is strata.asset_id(network, standard, asset_key, token_id). Then fold again.';
  end if;
end
$$;

comment on function strata.stage_changes(smallint, bigint, bigint, int) is
  'Stages the stored changes of a source''s blocks (both inclusive), of all accounts or of one hash partition of the state, for fold_deltas().';
--! EndIncluded functions/stage_changes.sql
--! Included functions/find_late_priors.sql
create or replace function strata.find_late_priors(earliest timestamptz, latest timestamptz, opened timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  span       interval := '28 days';
  until      timestamptz;
  since      timestamptz;
  first_week timestamptz;
begin
  -- What lies before the rows that retention has left needs no row of its own; it still adds to the later ones.
  insert into pg_temp.late_periods (account_address, asset_id, period, change_count, running, running_opened, next_period, stored)
  select account_address, asset_id, period, change_count, sum(delta) over key,
         coalesce(sum(delta) filter (where period < opened) over key, 0), lead(period) over key, period < opened
    from pg_temp.late_deltas
  window key as (partition by account_address, asset_id order by period);

  -- Most keys have a row within a month; for the others twice as far each time, because to plan for years of weeks costs
  -- more than to look into the few that are needed.
  since := greatest(opened, strata.week_start(earliest) - span);
  until := latest + interval '1 microsecond';
  while exists (select from pg_temp.late_periods where not stored and prior is null) loop
    if until <= latest then
      first_week := coalesce(first_week, (select min(w.lower_bound) from strata.set_partitions('account_balances') w), 'infinity');
      exit when until <= greatest(opened, first_week);
    end if;
    execute format($prior$
      update pg_temp.late_periods t set prior = found.balance, stored = found."timestamp" = t.period
        from (
          select p.ctid as place, r.balance, r."timestamp"
            from pg_temp.late_periods p
           cross join lateral (
             select b.balance, b."timestamp" from strata.account_balances b
              where b.account_address = p.account_address and b.asset_id = p.asset_id and b."timestamp" <= p.period
                and b."timestamp" >= %1$L and b."timestamp" < %2$L
              order by b."timestamp" desc limit 1
           ) r
           where not p.stored and p.prior is null
        ) found
       where t.ctid = found.place
    $prior$, since, until);
    until := since;
    span := 2 * span;
    since := greatest(opened, since - span);
  end loop;
end
$$;

comment on function strata.find_late_priors(timestamptz, timestamptz, timestamptz) is
  'The part of fold_late_deltas() that lists the touched periods in pg_temp.late_periods, says which have a row already, and finds the balance of the last row before each of the others.';
--! EndIncluded functions/find_late_priors.sql
--! Included functions/fold_late_rows.sql
create or replace function strata.fold_late_rows(earliest timestamptz, until timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set enable_hashjoin = off
set enable_nestloop = on
as $$
declare
  walked text := '';
  dense  boolean;
begin
  -- Since PostgreSQL 17 a list of keys takes one walk along an index, at about the fortieth part of a look-up per row passed:
  -- for many keys in small weeks that is half the time. Before, each pair of the two lists would be looked up.
  select sum(pg_relation_size(t.relid)) / 100 < 40 * count(distinct w.partition)
                                                * (select count(*) from (select distinct account_address, asset_id from pg_temp.late_periods) k)
    into dense
    from strata.set_partitions('account_balances') w cross join lateral pg_partition_tree(w.partition) t
   where w.upper_bound > earliest and w.lower_bound < until;
  if dense and current_setting('server_version_num')::int >= 170000 then
    walked := 'and b.account_address = any ((select array_agg(distinct account_address) from pg_temp.late_periods)::bytea[])
       and b.asset_id = any ((select array_agg(distinct asset_id) from pg_temp.late_periods)::bigint[])';
    perform set_config('enable_hashjoin', 'on', true), set_config('enable_nestloop', 'off', true);
  end if;

  -- The bounds are literals, so that the weeks before the earliest period are pruned when the statement is planned.
  execute format($fold$
    with late as materialized (
      select * from pg_temp.late_periods order by account_address, asset_id, period
    )
    update strata.account_balances b
       set balance = b.balance + l.running,
           change_count = b.change_count + case when b."timestamp" = l.period then l.change_count else 0 end
      from late l
     where b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" >= %1$L and b."timestamp" >= l.period
       and (l.next_period is null or b."timestamp" < l.next_period) and b."timestamp" < %2$L %3$s
  $fold$, earliest, until, walked);
end
$$;

comment on function strata.fold_late_rows(timestamptz, timestamptz) is
  'The part of fold_late_deltas() that adds to the rows from the first touched period of a key on what lies at or before them.';
--! EndIncluded functions/fold_late_rows.sql
--! Included functions/drop_emptied_openings.sql
create or replace function strata.drop_emptied_openings(opened timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set enable_nestloop = on
as $$
declare
  emptied record;
  empty   boolean;
begin
  -- An opening row may stand for changes that were dropped: then it stays, as 0.
  if (select s.changes_from from strata.balance_status s) > '-infinity' then
    return;
  end if;
  for emptied in
    select o.account_address, o.asset_id
      from (select account_address, asset_id from pg_temp.late_deltas
             where period < opened group by 1, 2 having min(change_count) < 0) l
      join strata.account_balances_opening o
        on o.account_address = l.account_address and o.asset_id = l.asset_id and o.balance = 0
  loop
    -- Literals, so that one hash partition of each week is planned for.
    execute format('select not exists (select from strata.balance_changes where account_address = %L and asset_id = %s and block_time < %L)',
      emptied.account_address, emptied.asset_id, opened) into empty;
    if empty then
      delete from strata.account_balances_opening o
       where o.account_address = emptied.account_address and o.asset_id = emptied.asset_id;
    end if;
  end loop;
end
$$;

comment on function strata.drop_emptied_openings(timestamptz) is
  'The part of fold_late_deltas() for changes taken back from behind the retained rows: opening rows that lost their last change go.';
--! EndIncluded functions/drop_emptied_openings.sql
--! Included functions/fold_late_deltas.sql
create or replace function strata.fold_late_deltas(until timestamptz default 'infinity') returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  earliest timestamptz;
  latest   timestamptz;
  opened   timestamptz := (select s.opened_before from strata.balance_status s);
  undoable bigint;
begin
  select greatest(min(period), opened), greatest(max(period), opened) into earliest, latest from pg_temp.late_deltas;

  -- What is earlier than the rows that retention has left goes into the opening balance; while those rows can be put
  -- back, it is also kept by period.
  if exists (select from pg_temp.late_deltas where period < opened) then
    select max(r.retention_id) into undoable
      from strata.retentions r where r.set_name = 'account_balances' and r.undone_at is null and r.dropped_at is null;
  end if;
  if undoable is not null then
    insert into strata.held_openings (retention_id, account_address, asset_id, balance, "timestamp")
    select undoable, l.account_address, l.asset_id, o.balance, o."timestamp"
      from (select distinct account_address, asset_id from pg_temp.late_deltas where period < opened) l
      left join strata.account_balances_opening o on o.account_address = l.account_address and o.asset_id = l.asset_id
    on conflict do nothing;
    insert into strata.held_deltas as h (retention_id, account_address, asset_id, period, delta, change_count)
    select undoable, account_address, asset_id, period, delta, change_count from pg_temp.late_deltas where period < opened
    on conflict (retention_id, account_address, asset_id, period) do update
      set delta = h.delta + excluded.delta, change_count = h.change_count + excluded.change_count;
  end if;
  insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
  select account_address, asset_id, sum(delta), max(period)
    from pg_temp.late_deltas where period < opened group by account_address, asset_id
   order by account_address, asset_id
  on conflict (account_address, asset_id) do update
    set balance = o.balance + excluded.balance, "timestamp" = greatest(o."timestamp", excluded."timestamp");

  perform strata.find_late_priors(earliest, latest, opened);

  perform strata.fold_late_rows(earliest, until);

  -- Only now, so that rows from here on are not raised twice: periods without a row get one, seeded from the last row before.
  insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
  select l.account_address, l.asset_id, l.period,
         coalesce(l.prior + l.running, opening.balance + l.running - l.running_opened, l.running), l.change_count
    from pg_temp.late_periods l
    left join strata.account_balances_opening opening
      on opening.account_address = l.account_address and opening.asset_id = l.asset_id
   where not l.stored
   order by l.account_address, l.asset_id, l.period;

  if exists (select from pg_temp.late_deltas where change_count < 0) then
    perform strata.drop_emptied_periods(earliest, latest);
    perform strata.drop_emptied_openings(opened);
  end if;
  delete from pg_temp.late_periods;
  perform strata.fold_late_state();
end
$$;

comment on function strata.fold_late_deltas(timestamptz) is
  'The part of fold_deltas() for keys whose history is touched: late changes and changes taken back. Cost follows the rows behind the earliest touched period of those keys. Rows from until on are left alone.';
--! EndIncluded functions/fold_late_deltas.sql
--! Included functions/carry_forward_openings.sql
create or replace function strata.carry_forward_openings(cutoff timestamptz, retention_id bigint default null) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
declare
  keys bigint;
begin
  perform strata.lock_fold();
  execute format($carry$
    with carried as materialized (
      -- The primary keys of the weeks, read backwards and merged, have the newest row of each key first: nothing is sorted.
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from strata.account_balances where "timestamp" < %1$L and "timestamp" >= %2$L
       order by account_address desc, asset_id desc, "timestamp" desc
    ), held as (
      insert into strata.held_openings (retention_id, account_address, asset_id, balance, "timestamp")
      select %3$L, c.account_address, c.asset_id, o.balance, o."timestamp"
        from carried c
        left join strata.account_balances_opening o on o.account_address = c.account_address and o.asset_id = c.asset_id
       where %3$L is not null
       order by c.account_address, c.asset_id
    )
    insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
    select account_address, asset_id, balance, "timestamp" from carried
     order by account_address, asset_id
    on conflict (account_address, asset_id) do update
      set balance = excluded.balance, "timestamp" = excluded."timestamp"
      where o."timestamp" <= excluded."timestamp"
  $carry$, cutoff, (select s.opened_before from strata.balance_status s), retention_id);
  get diagnostics keys = row_count;
  update strata.balance_status set opened_before = greatest(opened_before, cutoff);
  return keys;
end
$$;

comment on function strata.carry_forward_openings(timestamptz, bigint) is
  'Writes the balance of every key at the cutoff into account_balances_opening; returns the keys written. Retention calls it before it takes the weeks out, and has the rows it writes over kept for its undo. Rows before the cutoff are out of the reckoning from its commit on, attached or not.';
--! EndIncluded functions/carry_forward_openings.sql
--! Included views/balance_history.sql
create or replace view strata.balance_history as
select account_address, asset_id, "timestamp", balance, change_count, false as opening
  from strata.account_balances where "timestamp" >= (select s.opened_before from strata.balance_status s)
union all
select account_address, asset_id, "timestamp", balance, 0, true from strata.account_balances_opening;

comment on view strata.balance_history is
  'Every retained balance of a key in time, begun with the opening row that retention carried forward (opening = true).';
--! EndIncluded views/balance_history.sql
--! Included functions/grant_roles.sql
create or replace function strata.grant_roles() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  r name;
begin
  foreach r in array array['strata_reader', 'strata_loader', 'strata_maintainer'] loop
    if not exists (select from pg_roles where rolname = r) then
      begin
        execute format('create role %I nologin', r);
      exception
        when insufficient_privilege then
          raise notice 'role % is missing and % may not create it', r, current_user;
        when duplicate_object or unique_violation then
          null;  -- another database of the cluster was migrated at the same moment
      end;
    end if;
  end loop;
  if (select count(*) from pg_roles where rolname in ('strata_reader', 'strata_loader', 'strata_maintainer')) < 3 then
    return;
  end if;
  revoke all on all routines in schema strata from public;
  grant usage on schema strata to strata_reader, strata_loader, strata_maintainer;
  grant select on all tables in schema strata to strata_reader, strata_loader, strata_maintainer;
  grant execute on all routines in schema strata to strata_loader, strata_maintainer;
  grant execute on function strata.account(text), strata.account_text(bytea), strata.asset_id(text, text, text, numeric),
    strata.week_start(timestamptz), strata.week_name(text, timestamptz), strata.partition_bounds(regclass), strata.set_partitions(text),
    strata.period_start(text, timestamptz), strata.balance_at(bytea, bigint, timestamptz), strata.sample_predicate(text, int),
    strata.recompute_floor(), strata.recompute_balances(bytea, bigint, timestamptz, int), strata.verify_rows(int),
    strata.verify_state(int), strata.verify_sums(), strata.verify_snapshots(int), strata.verify_ledger(),
    strata.week_key(timestamptz), strata.week_info(text), strata.partition_type(text), strata.require_set(text),
    strata.partition_info(text), strata.partition_distribution(text), strata.find_missing_weeks(text),
    strata.explain_query(text, timestamptz, timestamptz, text), strata.consolidation_refusal(text, regclass),
    strata.consolidation_status(text), strata.consolidation_report(text),
    strata.get_account_balance_partition_info(), strata.check_partition_distribution(), strata.find_missing_partitions(),
    strata.explain_account_balance_query(timestamptz, timestamptz, text), strata.get_partition_consolidation_status(),
    strata.weekly_consolidation_report()
    to strata_reader;
  grant insert, update, delete on strata.streams, strata.sources, strata.stream_batches, strata.stream_health, strata.quarantine, strata.assets,
    strata.balance_changes, strata.account_balances, strata.account_balances_current, strata.snapshot_rows,
    strata.fold_progress, strata.balance_status, strata.account_balances_opening, strata.held_openings, strata.held_deltas
    to strata_loader;
  grant usage on all sequences in schema strata to strata_loader, strata_maintainer;
  grant usage, create on schema strata, strata_held to strata_maintainer;
  grant insert, update, delete on strata.partition_sets, strata.account_balances_opening, strata.maintenance_runs,
    strata.consolidations, strata.held_partitions, strata.retentions, strata.held_openings, strata.held_deltas, strata.labels,
    strata.label_views, strata.adoptions
    to strata_maintainer;
end
$$;

comment on function strata.grant_roles() is
  'Creates the group roles strata_reader, strata_loader and strata_maintainer where the caller may, and grants each the least it needs. Safe to run again.';
--! EndIncluded functions/grant_roles.sql
select strata.grant_roles();
