--! Previous: sha1:2a8fe3f612a2c086c8f303e6a32b6ad10fbe2ee3
--! Hash: sha1:4bf373a6da6fc29726c2b5dd45196489f10f9fe2
--! Message: scale

-- Bulk fold: CREATE TABLE AS in place of a table to insert into.
drop function if exists strata.open_fresh_leaf(regclass);
--! Included functions/fill_leaf.sql
create or replace function strata.fill_leaf(leaf regclass, columns name[], rows text, out filled regclass, out row_count bigint)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  fresh       name := 'fresh_' || leaf::oid;
  schema_name name;
  storage     text;
  has_rows    boolean;
  outputs     text;
  properties  text;
  written     bigint;
begin
  execute format('select exists (select from %s)', leaf) into has_rows;
  if has_rows then
    execute format('insert into %s (%s) %s', leaf, (select string_agg(quote_ident(c), ', ' order by n) from unnest(columns) with ordinality u (c, n)), rows);
    get diagnostics written = row_count;
    filled := leaf;
    row_count := written;
    return;
  end if;

  select n.nspname, coalesce(format(' with (%s)', array_to_string(c.reloptions, ', ')), '') into strict schema_name, storage
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = leaf;
  select string_agg(format('%s::%s as %I',
           case when a.attname = any (columns) then quote_ident(a.attname) else coalesce(pg_get_expr(d.adbin, d.adrelid), 'null') end,
           format_type(a.atttypid, a.atttypmod), a.attname), ', ' order by a.attnum),
         concat_ws(', ',
           string_agg(format('alter %I set default %s', a.attname, pg_get_expr(d.adbin, d.adrelid)), ', ') filter (where d.oid is not null),
           string_agg(format('alter %I set storage %s', a.attname,
             case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end), ', ')
             filter (where a.attstorage <> t.typstorage),
           string_agg(format('alter %I set compression %s', a.attname, case a.attcompression when 'l' then 'lz4' else 'pglz' end), ', ')
             filter (where a.attcompression <> ''),
           string_agg(format('alter %I set not null', a.attname), ', ') filter (where a.attnotnull and not named.yes))
    into outputs, properties
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    cross join lateral (select exists (select from pg_constraint k where k.conrelid = leaf and k.contype = 'n' and k.conkey[1] = a.attnum) as yes) named
   where a.attrelid = leaf and a.attnum > 0 and not a.attisdropped;
  -- Since PostgreSQL 18 a NOT NULL has a name.
  select concat_ws(', ', nullif(properties, ''), string_agg(format('add constraint %I %s', k.conname, pg_get_constraintdef(k.oid)), ', ')) into properties
    from pg_constraint k where k.conrelid = leaf and k.contype in ('c', 'n');

  -- INSERT looks for room and pins its page anew at each row. This keeps its page, a tenth of the whole fold less; but it gives
  -- a table columns and nothing else.
  execute format('create table %I.%I%s as select %s from (%s) r (%s)', schema_name, fresh, storage, outputs, rows,
    (select string_agg(quote_ident(c), ', ' order by n) from unnest(columns) with ordinality u (c, n)));
  get diagnostics written = row_count;
  filled := format('%I.%I', schema_name, fresh)::regclass;
  row_count := written;
  execute format('alter table %s %s', filled, properties);
end
$$;

comment on function strata.fill_leaf(regclass, name[], text) is
  'Fills a partition with the rows of a query that yields these columns: beside an empty one, in a table like it but without its indexes, which place_week_partition() puts in its place; or straight into one that has rows. Says which, and how many rows.';
--! EndIncluded functions/fill_leaf.sql
--! Included functions/fill_week_partition.sql
create or replace function strata.fill_week_partition(week_start timestamptz, remainder int) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
set maintenance_work_mem = '256MB'
-- Partitions are what is filled side by side: sharing one index build costs more than it gives.
set max_parallel_maintenance_workers = 0
-- Enough to plan what follows; autovacuum looks closer.
set default_statistics_target = 10
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

  -- One sort and one window: the last change of a period has its balance, and its place among its peers is their number.
  select f.* into filled, folded from strata.fill_leaf(target.leaf, '{account_address,asset_id,timestamp,balance,change_count}', format($fold$
    select p.account_address, p.asset_id, p.period, coalesce(s.balance, 0) + p.so_far, p.change_count
      from (
        select c.account_address, c.asset_id, c.period, sum(c.delta) over so_far as so_far,
               (row_number() over so_far - rank() over so_far)::int + 1 as change_count, lead(c.period) over so_far as next_period
          from (select c.account_address, c.asset_id, date_bin(%3$s, c.block_time, timestamptz '1970-01-01 00:00:00+00') as period, c.delta
                  from %1$s) c
        window so_far as (partition by c.account_address, c.asset_id order by c.period rows unbounded preceding)
      ) p
      left join %2$s s on s.account_address = p.account_address and s.asset_id = p.asset_id
     where p.next_period is distinct from p.period
     order by p.account_address, p.asset_id, p.period
  $fold$, changes, state, step)) f;
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

select strata.grant_roles();
