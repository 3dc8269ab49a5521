--! Previous: sha1:ac5d7cb72c24aba9322b0029e766c3e8ee4e8fb7
--! Hash: sha1:6f3a92291e3596d39f9042bacdeaf20a467ca3c9
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
  apart_taken bigint := 0;
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
  -- Weeks beside the set first, and held there: one that was attached between the two would be in neither. Of these nothing is folded yet.
  for apart in
    select w.changes from strata.backfill_weeks w
     where w.state <> 'attached' and w.week_start + interval '168 hours' > coalesce(min_time, '-infinity') order by w.week_start for share
  loop
    execute format('delete from %s c where c.source_id = %s and c.block_num >= %s and (%4$L is null or c.block_num <= %4$L)',
      apart.changes, source_id, from_block, to_block);
    get diagnostics beside = row_count;
    apart_taken := apart_taken + beside;
  end loop;
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
  return taken + apart_taken;
end
$$;

comment on function strata.take_back_changes(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s changes of blocks from_block to to_block (both inclusive; null is open) and keeps them for fold_deltas(), which takes those that were folded back from the balances; call it before the commit. No change of these blocks may be earlier than min_time. Returns the changes deleted.';
--! EndIncluded functions/take_back_changes.sql

--! Included functions/hash_leaves.sql
create or replace function strata.hash_leaves(week regclass) returns table (leaf regclass, modulus int, remainder int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select i.inhrelid::regclass, bound.parts[1]::int, bound.parts[2]::int
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
   cross join lateral (
     select regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES WITH \(modulus (\d+), remainder (\d+)\)$') as parts
     -- Not for all tables there are.
     offset 0
   ) bound
   where i.inhparent = hash_leaves.week and bound.parts is not null;
end;

comment on function strata.hash_leaves(regclass) is
  'The hash partitions of a week, which may stand beside its set; none of one that is consolidated or cut otherwise.';
--! EndIncluded functions/hash_leaves.sql
--! Included functions/week_at.sql
create or replace function strata.week_at(set_name text, instant timestamptz) returns regclass
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  week regclass;
begin
  -- By its name, if that is what it says: the bounds of all weeks take longer to read, the more there are.
  select i.inhrelid::regclass into week
    from strata.partition_sets s
    join pg_class root on root.oid = s.parent
    join pg_class c on c.relnamespace = root.relnamespace and c.relname = strata.week_name(s.set_name, instant)
    join pg_inherits i on i.inhrelid = c.oid and i.inhparent = s.parent and not i.inhdetachpending
   where s.set_name = week_at.set_name;
  if week is null or not exists (select from strata.partition_bounds(week) b where b.lower_bound <= instant and instant < b.upper_bound) then
    select p.partition into week from strata.set_partitions(week_at.set_name) p where p.lower_bound <= instant and instant < p.upper_bound;
  end if;
  return week;
end
$$;

comment on function strata.week_at(text, timestamptz) is
  'The attached partition of a managed set that holds the instant, by its real bounds; null when there is none.';
--! EndIncluded functions/week_at.sql
--! Included functions/week_leaves.sql
create or replace function strata.week_leaves(set_name text, instant timestamptz)
returns table (week regclass, leaf regclass, modulus int, remainder int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select week.partition, l.leaf, l.modulus, l.remainder
    from (select strata.week_at(week_leaves.set_name, instant) as partition offset 0) week
   cross join lateral strata.hash_leaves(week.partition) l;
end;

comment on function strata.week_leaves(text, timestamptz) is
  'The hash partitions of the week that holds the instant; none for a week that is consolidated or cut otherwise.';
--! EndIncluded functions/week_leaves.sql
--! Included functions/state_partition.sql
create or replace function strata.state_partition(modulus int, remainder int) returns regclass
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select i.inhrelid::regclass
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = 'strata.account_balances_current'::regclass
     and pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES WITH (modulus %s, remainder %s)', modulus, remainder);
end;

comment on function strata.state_partition(int, int) is
  'The partition of the state that holds exactly the accounts of this hash partition; null where the state is cut otherwise.';
--! EndIncluded functions/state_partition.sql
--! Included functions/state_reaches.sql
create or replace function strata.state_reaches(state regclass, instant timestamptz, own text default 'true') returns boolean
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  reaches boolean;
begin
  execute format($check$
    select exists (
      select from %3$s s join strata.assets a on a.asset_id = s.asset_id and not a.observed
       where s."timestamp" >= %1$L and %2$s)
  $check$, instant, own, state) into reaches;
  return reaches;
end
$$;

comment on function strata.state_reaches(regclass, timestamptz, text) is
  'Whether a partition of the state, or those rows of it that own says, knows a balance at or behind an instant.';
--! EndIncluded functions/state_reaches.sql
--! Included functions/week_fold_statement.sql
create or replace function strata.week_fold_statement(changes text, state text) returns text
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  step text;
begin
  -- One grain for all assets, the usual case, need not be looked up change by change.
  select case when count(distinct a.grain) = 1 then format('interval %L', '1 ' || min(a.grain))
              else '(select case a.grain when ''hour'' then interval ''1 hour'' else interval ''1 day'' end from strata.assets a where a.asset_id = c.asset_id)' end
    into step from strata.assets a where not a.observed;

  -- One sort and one window: the last change of a period has its balance, and its place among its peers is their number.
  return format($fold$
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
  $fold$, changes, state, step);
end
$$;

comment on function strata.week_fold_statement(text, text) is
  'The query that folds the changes of a whole week, seeded by the state: account, asset, period, balance and number of changes, in the order of the key. changes: what stands behind FROM, named c; state: the table of openings, one partition of it or all.';
--! EndIncluded functions/week_fold_statement.sql
--! Included functions/fill_beside.sql
create or replace function strata.fill_beside(model regclass, name name, storage text, columns name[], rows text, out filled regclass, out row_count bigint)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  schema_name name;
  outputs     text;
  properties  text;
  written     bigint;
begin
  select n.nspname into strict schema_name from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = model;
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
    cross join lateral (select exists (select from pg_constraint k where k.conrelid = model and k.contype = 'n' and k.conkey[1] = a.attnum) as yes) named
   where a.attrelid = model and a.attnum > 0 and not a.attisdropped;
  -- Since PostgreSQL 18 a NOT NULL has a name.
  select concat_ws(', ', nullif(properties, ''), string_agg(format('add constraint %I %s', k.conname, pg_get_constraintdef(k.oid)), ', ')) into properties
    from pg_constraint k where k.conrelid = model and k.contype in ('c', 'n');

  -- INSERT looks for room and pins its page anew at each row. This keeps its page, a tenth of the whole fold less; but it gives
  -- a table columns and nothing else.
  execute format('create table %I.%I%s as select %s from (%s) r (%s)', schema_name, name, coalesce(' with (' || storage || ')', ''), outputs, rows,
    (select string_agg(quote_ident(c), ', ' order by n) from unnest(columns) with ordinality u (c, n)));
  get diagnostics written = row_count;
  filled := format('%I.%I', schema_name, name)::regclass;
  row_count := written;
  execute format('alter table %s %s', filled, properties);
end
$$;

comment on function strata.fill_beside(regclass, name, text, name[], text) is
  'Makes a table like the model, with these storage parameters, of the rows of a query that yields these columns; without indexes. Says which, and how many rows.';
--! EndIncluded functions/fill_beside.sql
--! Included functions/fill_leaf.sql
create or replace function strata.fill_leaf(leaf regclass, columns name[], rows text, out filled regclass, out row_count bigint)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  has_rows boolean;
  written  bigint;
begin
  execute format('select exists (select from %s)', leaf) into has_rows;
  if has_rows then
    execute format('insert into %s (%s) %s', leaf, (select string_agg(quote_ident(c), ', ' order by n) from unnest(columns) with ordinality u (c, n)), rows);
    get diagnostics written = row_count;
    filled := leaf;
    row_count := written;
    return;
  end if;
  select b.* into filled, row_count
    from strata.fill_beside(leaf, 'fresh_' || leaf::oid, (select array_to_string(c.reloptions, ', ') from pg_class c where c.oid = leaf), columns, rows) b;
end
$$;

comment on function strata.fill_leaf(regclass, name[], text) is
  'Fills a partition with the rows of a query that yields these columns: beside an empty one, in a table like it but without its indexes, which place_week_partition() puts in its place; or straight into one that has rows. Says which, and how many rows.';
--! EndIncluded functions/fill_leaf.sql
--! Included functions/prefilled_name.sql
create or replace function strata.prefilled_name(folding xid8, changes regclass) returns name
language sql immutable strict
set search_path = pg_catalog, strata, pg_temp
return format('fresh_%s_%s', folding, changes::oid);

comment on function strata.prefilled_name(xid8, regclass) is
  'The table that prefill_week_partition() fills from a partition of changes for the transaction that folds its week: of no use to any other, since the state goes on.';
--! EndIncluded functions/prefilled_name.sql
--! Included functions/take_prefilled.sql
create or replace function strata.take_prefilled(changes regclass, leaf regclass, out filled regclass, out row_count bigint)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  schema_name name;
  ready       name;
  fresh       name := 'fresh_' || leaf::oid;
  has_rows    boolean;
  index_name  name;
begin
  select n.nspname, strata.prefilled_name(pg_current_xact_id_if_assigned(), changes) into schema_name, ready
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = leaf;
  if ready is not null then
    filled := to_regclass(format('%I.%I', schema_name, ready));
  end if;
  if filled is null then
    return;
  end if;
  execute format('select exists (select from %s)', leaf) into has_rows;
  if has_rows then
    filled := null;
    return;
  end if;
  execute format('select count(*) from %s', filled) into row_count;
  for index_name in select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = filled loop
    execute format('alter index %I.%I rename to %I', schema_name, index_name, replace(index_name, ready, fresh));
  end loop;
  execute format('alter table %I.%I rename to %I', schema_name, ready, fresh);
end
$$;

comment on function strata.take_prefilled(regclass, regclass) is
  'Takes what prefill_week_partition() has made of a partition of changes for this transaction, and for no other, as the rows of an empty partition of balances that fill_leaf() would have filled; nulls where there is nothing, or the partition has rows.';
--! EndIncluded functions/take_prefilled.sql
--! Included functions/drop_prefilled.sql
create or replace function strata.drop_prefilled() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  prefilled regclass;
begin
  for prefilled in
    select c.oid::regclass from pg_class c
     where c.relnamespace = 'strata'::regnamespace and c.relkind = 'r' and not c.relispartition and c.relname ~ '^fresh_\d+_\d+$'
  loop
    execute format('drop table %s', prefilled);
  end loop;
end
$$;

comment on function strata.drop_prefilled() is
  'Drops what prefill_week_partition() has made for transactions that have not taken it: broken off, or with rows behind the week.';
--! EndIncluded functions/drop_prefilled.sql
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
  own_leaf    regclass;
  changes     text;
  own         text;
  state       text;
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
  state := strata.state_partition(target.modulus, remainder)::text;

  -- Changes that are cut like the balances are read from one leaf, others by their hash.
  select l.leaf into own_leaf
    from strata.week_leaves('balance_changes', lower_bound) l
   where l.modulus = target.modulus and l.remainder = fill_week_partition.remainder;
  select p.filled, p.row_count into filled, folded from strata.take_prefilled(own_leaf, target.leaf) p;
  if filled is null then
    -- Asked of the state, which knows the newest row of each key, and not of the week itself: a lock on the week, shared by two
    -- that fill their partitions at once, would keep both from putting theirs in place.
    if strata.state_reaches(coalesce(state, 'strata.account_balances_current')::regclass, lower_bound, case when state is null then own else 'true' end) then
      raise exception 'there are balances at or behind the week of % already', lower_bound
        using errcode = 'object_not_in_prerequisite_state',
              hint = 'Whole weeks are folded in order into empty weeks; fold_changes() folds into what is there.';
    end if;
    changes := coalesce(own_leaf || ' c', format(
      'strata.balance_changes c where c.block_time >= %1$L and c.block_time < %2$L and %3$s', lower_bound, upper_bound, own));
    select f.* into filled, folded
      from strata.fill_leaf(target.leaf, '{account_address,asset_id,timestamp,balance,change_count}',
             strata.week_fold_statement(changes, coalesce(state, 'strata.account_balances_current'))) f;
    if filled <> target.leaf then
      perform strata.build_indexes_like(target.leaf, filled);
      execute format('analyze %s (account_address)', filled);
    end if;
  end if;

  perform strata.advance_state(filled, coalesce(state, 'strata.account_balances_current')::regclass);
  return folded;
end
$$;

comment on function strata.fill_week_partition(timestamptz, int) is
  'The first half of fold_week_partition(): balances of one hash partition of the week, in a table beside the set with all its indexes, and the state after them; returns the balance rows. Where the partition has rows already (snapshots), they go straight into it. What prefill_week_partition() has made for this transaction is taken as it is.';
--! EndIncluded functions/fill_week_partition.sql
--! Included functions/lock_backfill_week.sql
create or replace function strata.lock_backfill_week(week_start timestamptz) returns strata.backfill_weeks
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  w strata.backfill_weeks;
begin
  -- Before any other lock: a verify may take its time.
  lock table strata.week_gate in access exclusive mode;
  perform strata.share_gates('account_balances', 'balance_changes');
  -- In this order, as loaders do: the week, then the fold. Whoever still writes to the week is waited for here.
  select * into w from strata.backfill_weeks b where b.week_start = lock_backfill_week.week_start for update;
  if w.state is distinct from 'keyed' then
    return null;
  end if;
  perform strata.lock_fold();
  return w;
end
$$;

comment on function strata.lock_backfill_week(timestamptz) is
  'Keeps everybody else from a week that has its keys, and from the fold, until this transaction ends; null when there is no such week.';
--! EndIncluded functions/lock_backfill_week.sql
--! Included functions/begin_backfill_fold.sql
create or replace function strata.begin_backfill_fold(week_start timestamptz, out folding xid8, out parts int[])
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  w strata.backfill_weeks := strata.lock_backfill_week(week_start);
begin
  perform strata.drop_prefilled();
  -- A state that must be rebuilt is rebuilt by this transaction, where nobody else sees it.
  if w.week_start is null or strata.state_is_stale() then
    return;
  end if;
  folding := pg_current_xact_id();
  select array_agg(l.remainder order by l.remainder) into parts
    from strata.hash_leaves(w.changes) l
    join strata.partition_sets s on s.set_name = 'account_balances' and s.layout = 'hash' and s.modulus = l.modulus
   where strata.state_partition(l.modulus, l.remainder) is not null;
end
$$;

comment on function strata.begin_backfill_fold(timestamptz) is
  'Begins the attachment of a week: takes all its locks, so that the state stands still until this transaction ends. Returns the transaction and the hash partitions that other connections may fold meanwhile, see prefill_week_partition(); attach_backfill_week() in this transaction then takes what they have made, and folds the rest. Nulls when all is left to that.';
--! EndIncluded functions/begin_backfill_fold.sql
--! Included functions/prefill_week_partition.sql
create or replace function strata.prefill_week_partition(week_start timestamptz, remainder int, folding xid8) returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- As fill_week_partition(), and for the same reasons.
set work_mem = '256MB'
set maintenance_work_mem = '256MB'
set max_parallel_maintenance_workers = 0
set default_statistics_target = 10
set enable_nestloop = off
-- Who waits here may wait for somebody who waits for the transaction that waits for this: PostgreSQL cannot see such a ring.
set lock_timeout = '5s'
as $$
declare
  lower_bound timestamptz := strata.week_start(week_start);
  s           strata.partition_sets;
  changes     regclass;
  state       regclass;
  filled      regclass;
  folded      bigint;
begin
  select p.* into strict s from strata.partition_sets p where p.set_name = 'account_balances';
  select l.leaf, strata.state_partition(l.modulus, l.remainder) into changes, state
    from strata.backfill_weeks w
   cross join lateral strata.hash_leaves(w.changes) l
   where w.week_start = lower_bound and w.state = 'keyed' and l.remainder = prefill_week_partition.remainder and l.modulus = s.modulus;
  if state is null or pg_xact_status(folding) is distinct from 'in progress' or strata.state_reaches(state, lower_bound) then
    return null;
  end if;
  select f.* into filled, folded
    from strata.fill_beside(s.parent, strata.prefilled_name(folding, changes), 'fillfactor = ' || s.leaf_fillfactor,
           '{account_address,asset_id,timestamp,balance,change_count}', strata.week_fold_statement(changes || ' c', state::text)) f;
  execute format('alter table %s add constraint %I check ("timestamp" >= %L and "timestamp" < %L)',
    filled, strata.week_name(s.set_name, lower_bound) || '_bounds', lower_bound, lower_bound + interval '168 hours');
  perform strata.build_indexes_like(s.parent, filled);
  execute format('analyze %s (account_address)', filled);
  return folded;
end
$$;

comment on function strata.prefill_week_partition(timestamptz, int, xid8) is
  'Folds one hash partition of a week that stands beside the set, for the transaction that has called begin_backfill_fold() and may run on another connection: the balances come to stand in a table of their own, and nothing else is changed. Returns the balance rows; null where they cannot be made so, and are left to that transaction.';
--! EndIncluded functions/prefill_week_partition.sql
--! Included functions/fold_backfill_week.sql
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
--! EndIncluded functions/fold_backfill_week.sql
--! Included functions/key_backfill_leaf.sql
create or replace function strata.key_backfill_leaf(week_start timestamptz, leaf int) returns text
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  own     regclass;
  size_kb bigint;
begin
  select i.inhrelid::regclass into own
    from strata.backfill_weeks w
    join pg_inherits i on i.inhparent = w.changes
   where w.week_start = key_backfill_leaf.week_start and w.state = 'building'
   order by i.inhrelid offset leaf limit 1;
  if own is not null then
    execute format('lock table %s in access exclusive mode', own);
    if not exists (select from pg_index i where i.indrelid = own) then
      -- Runs that fit into the processor's cache are sorted a quarter faster, as long as all of them can be merged at once, for
      -- which each takes a quarter of a megabyte. What is larger is better shared by parallel workers, who ask for more.
      size_kb := pg_relation_size(own) / 1024;
      perform set_config('maintenance_work_mem',
        case when size_kb > 524288 then 262144 else greatest(2048, (1.25 * sqrt(size_kb * 256.0))::int) end || 'kB', true);
      perform strata.build_indexes_like('strata.balance_changes', own);
    end if;
  end if;
  return own::text;
end
$$;

comment on function strata.key_backfill_leaf(timestamptz, int) is
  'Builds keys and indexes of one hash partition (0 is the first) of a week that stands beside balance_changes, so that several connections can share a week; nothing to do the second time. Returns the partition, null when the week has all its keys.';
--! EndIncluded functions/key_backfill_leaf.sql
--! Included functions/attach_backfill_week.sql
create or replace function strata.attach_backfill_week(week_start timestamptz, fold boolean, out folded text, out rows bigint, out balance_rows bigint)
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  w         strata.backfill_weeks := strata.lock_backfill_week(week_start);
  privilege record;
begin
  if w.week_start is null then
    return;
  end if;
  for privilege in
    select x.grantee from pg_class c cross join lateral aclexplode(c.relacl) x where c.oid = w.changes and x.grantee <> c.relowner group by 1
  loop
    execute format('revoke select, insert, delete on %s from %s', w.changes, strata.role_text(privilege.grantee));
  end loop;
  perform strata.attach_week('balance_changes', w.week_start, w.changes);
  perform strata.ensure_weeks('account_balances', w.week_start, w.week_start);
  select f.folded, f.balance_rows, f.change_rows into folded, balance_rows, rows from strata.fold_backfill_week(w.week_start, w.changes, fold) f;
  perform strata.drop_prefilled();
  update strata.backfill_weeks b
     set state = 'attached', changes = null, row_count = rows, balance_rows = attach_backfill_week.balance_rows, folded = attach_backfill_week.folded,
         error = null, attached_at = clock_timestamp()
   where b.week_start = w.week_start;
end
$$;

comment on function strata.attach_backfill_week(timestamptz, boolean) is
  'Makes a week that has its keys a part of balance_changes, folds it (unless told not to), and makes its balances a part of account_balances, in one transaction: readers see the week whole or not at all. Nulls when the week is not there to be attached. The roots are locked SHARE UPDATE EXCLUSIVE, which readers and writers do not meet. begin_backfill_fold() before it lets other connections help.';
--! EndIncluded functions/attach_backfill_week.sql

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

--! Included functions/tables_of.sql
create or replace function strata.tables_of(relation regclass) returns setof regclass
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  -- pg_partition_tree() knows no tree of a plain table that is no partition (any more).
  select t.relid from pg_partition_tree(tables_of.relation) t
  union all
  select tables_of.relation where not exists (select from pg_partition_tree(tables_of.relation))
$$;

comment on function strata.tables_of(regclass) is
  'A table and its partitions, the table first; a plain table, attached or not, is alone.';
--! EndIncluded functions/tables_of.sql
--! Included functions/guard_detached.sql
create or replace function strata.guard_detached(week regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  part regclass;
begin
  if strata.is_distributed(week) then
    return;  -- Citus has no triggers on its tables
  end if;
  for part in select strata.tables_of(week) loop
    execute format('create or replace trigger strata_detached before insert or update or delete or truncate on %s for each statement execute function strata.refuse_detached()', part);
  end loop;
end
$$;

comment on function strata.guard_detached(regclass) is
  'Refuses further writes to a week that is taken out, and to its partitions: see refuse_detached().';
--! EndIncluded functions/guard_detached.sql
--! Included functions/hold_tables.sql
create or replace function strata.hold_tables(week oid) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  part regclass;
begin
  for part in select strata.tables_of(week::regclass) loop
    execute format('alter table %s set schema strata_held', part);
  end loop;
  perform strata.guard_detached(week::regclass);
end
$$;

comment on function strata.hold_tables(oid) is
  'Moves a detached week and its partitions to schema strata_held; their names stay.';
--! EndIncluded functions/hold_tables.sql
--! Included functions/hold_partition.sql
create or replace function strata.hold_partition(partition regclass) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  h     strata.held_partitions;
  part  regclass;
  names text;
begin
  select * into h from strata.held_partitions j
   where j.partition = hold_partition.partition::oid and j.state = 'detaching' for update;
  if h.held_id is null or exists (select from pg_inherits i where i.inhrelid = hold_partition.partition) then
    raise exception '% is attached, or its journal does not say that it is being taken out', hold_partition.partition
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  select string_agg(c.relname, ', ') into names
    from strata.tables_of(hold_partition.partition) t join pg_class c on c.oid = t
   where to_regclass(format('strata_held.%I', c.relname)) <> t;
  if names is not null then
    raise exception 'strata_held has tables named % already', names
      using errcode = 'duplicate_table', hint = 'Drop or rename those; then retain again, which goes on from here.';
  end if;
  for part in select t from strata.tables_of(hold_partition.partition) t join pg_class c on c.oid = t
               where c.relnamespace <> 'strata_held'::regnamespace loop
    execute format('alter table %s set schema strata_held', part);
  end loop;
  perform strata.guard_detached(hold_partition.partition);
  update strata.held_partitions j
     set state = 'held', detached_at = clock_timestamp(),
         drop_after = clock_timestamp() + (select s.hold from strata.partition_sets s where s.set_name = h.set_name),
         bytes = (select sum(pg_total_relation_size(t)) from strata.tables_of(hold_partition.partition) t)
   where j.held_id = h.held_id;
  return h.held_id;
end
$$;

comment on function strata.hold_partition(regclass) is
  'Moves a detached week and its leaves to schema strata_held under their own names, to be dropped after the set''s hold; the last step of taking a week out.';
--! EndIncluded functions/hold_partition.sql
--! Included functions/undo_retention.sql
create or replace function strata.undo_retention(retention_id bigint) returns int
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  r      strata.retentions;
  s      strata.partition_sets;
  h      strata.held_partitions;
  home   name;
  root   text;
  part   regclass;
  lost   timestamptz;
  taken  text;
  back   int := 0;
begin
  select * into r from strata.retentions j where j.retention_id = undo_retention.retention_id;
  if r.set_name in ('account_balances', 'balance_changes', 'snapshot_rows') then
    perform strata.lock_fold();
  end if;
  select * into r from strata.retentions j where j.retention_id = undo_retention.retention_id for update;
  select * into s from strata.partition_sets p where p.set_name = r.set_name for update;
  if r.undone_at is not null or r.dropped_at is not null or s.retained_from is distinct from r.cutoff then
    raise exception 'retention % of % cannot be undone: it is undone or dropped already, or not the newest', undo_retention.retention_id, r.set_name
      using errcode = 'object_not_in_prerequisite_state', hint = 'Undo the newest retention first; strata.retentions has them all.';
  end if;
  select max(j.upper_bound) into lost from strata.held_partitions j
   where j.retention_id = r.retention_id and (j.state = 'dropped' or not exists (select from pg_class c where c.oid = j.partition));
  if lost is not null and r.set_name = 'account_balances' then
    raise exception 'retention % cannot be undone: weeks of it up to % are dropped', r.retention_id, lost
      using errcode = 'object_not_in_prerequisite_state', hint = 'Opening balances are exact from the cutoff on only.';
  end if;
  select format('%I.%I', n.nspname, c.relname), n.nspname into root, home
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = s.parent;

  for h in
    select * from strata.held_partitions j
     where j.retention_id = r.retention_id and j.finished_at is null and j.lower_bound >= coalesce(lost, '-infinity')
     order by j.lower_bound
  loop
    if exists (select from pg_inherits i where i.inhrelid = h.partition and i.inhdetachpending) then
      raise exception 'the detach of % is unfinished', h.partition_name
        using errcode = 'object_not_in_prerequisite_state', hint = format('alter table %s detach partition %s finalize', root, h.partition::regclass);
    end if;
    if not exists (select from pg_inherits i where i.inhrelid = h.partition) then
      select p.partition::text into taken from strata.set_partitions(s.set_name) p
       where p.is_default or (p.lower_bound < h.upper_bound and p.upper_bound > h.lower_bound) limit 1;
      if taken is not null then
        raise exception '% cannot be put back: % is in its place', h.partition_name, taken
          using errcode = 'object_not_in_prerequisite_state',
                hint = format('Move the rows of %s elsewhere, detach it, and undo again; then insert them anew.', taken);
      end if;
      for part in select t from strata.tables_of(h.partition::regclass) t join pg_class c on c.oid = t
                   where c.relnamespace <> home::regnamespace loop
        execute format('alter table %s set schema %I', part, home);
        execute format('drop trigger if exists strata_detached on %I.%I', home, (select c.relname from pg_class c where c.oid = part));
      end loop;
      execute format('alter table %s attach partition %s for values from (%L) to (%L)',
        root, h.partition::regclass, h.lower_bound, h.upper_bound);
    end if;
    update strata.held_partitions j set state = 'reattached', finished_at = clock_timestamp() where j.held_id = h.held_id;
    back := back + 1;
  end loop;

  update strata.retentions j set undone_at = clock_timestamp() where j.retention_id = r.retention_id;
  update strata.partition_sets p set retained_from = greatest(r.retained_before, lost) where p.set_name = s.set_name;
  case r.set_name
    when 'account_balances' then
      update strata.balance_status set opened_before = r.floor_before, changed_at = statement_timestamp();
      perform strata.put_back_openings(r.retention_id, r.cutoff, r.floor_before, strata.undoable_retention());
    when 'balance_changes' then
      update strata.balance_status set changes_from = greatest(r.floor_before, lost), changed_at = statement_timestamp();
    when 'snapshot_rows' then
      update strata.balance_status set observations_from = greatest(r.floor_before, lost), changed_at = statement_timestamp();
    else null;
  end case;
  return back;
end
$$;

comment on function strata.undo_retention(bigint) is
  'Puts the weeks of the newest retention of a set back, without a scan, and with them what opening balances and balance_status said before; in one transaction. Weeks dropped already stay dropped: then balances cannot be put back, other sets from the last dropped week on. Returns the weeks that are attached again.';
--! EndIncluded functions/undo_retention.sql
--! Included functions/in_shard_rows.sql
create or replace function strata.in_shard_rows(shard bigint, stamp text, function text, arguments text[]) returns setof jsonb
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
-- Costs that say "never" would have every statement compiled; a coordinator's sessions have it off, a worker's have not.
set jit = off
as $$
begin
  if to_regproc(format('strata_shards.%s_%s_%s', function, shard, stamp)) is null then
    raise exception 'shard % has come to this node without its functions', shard
      using errcode = 'object_not_in_prerequisite_state', hint = 'Run `pgstrata migrate`, which makes them, as the next fold does.';
  end if;
  return query execute format('select to_jsonb(r) from strata_shards.%I(%s) r', format('%s_%s_%s', function, shard, stamp),
    (select string_agg(quote_nullable(a), ', ' order by place) from unnest(arguments) with ordinality u(a, place)));
end
$$;

comment on function strata.in_shard_rows(bigint, text, text, text[]) is
  'in_shard() for a function that returns rows and writes nothing: each as JSON, whose numbers are exact.';
--! EndIncluded functions/in_shard_rows.sql
--! Included functions/in_shards_rows_of.sql
create or replace function strata.in_shards_rows_of(account bytea, function text, variadic arguments text[] default '{}') returns setof jsonb
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  named bytea;
begin
  if account is null then
    return query select j from strata.in_shards_rows(function, variadic arguments) j;
    return;
  end if;
  -- The bytes that name the account's shard in strata.shards: the first that fall into it, as list_shards() drew them.
  select int4send(i) into named from generate_series(0, 200999) i
   where get_shard_id_for_distribution_column('strata.shards', int4send(i)) = get_shard_id_for_distribution_column('strata.shards', account)
   order by i limit 1;
  return query select strata.in_shard_rows(s.shard_id, s.stamp, in_shards_rows_of.function, in_shards_rows_of.arguments)
    from strata.shards s where s.account_address = named;
end
$$;

comment on function strata.in_shards_rows_of(bytea, text, text[]) is
  'in_shards_rows() for what concerns one account: called in its shard alone. In all of them where the account is null.';
--! EndIncluded functions/in_shards_rows_of.sql
--! Included analytics/account_keys.sql
create or replace function strata.account_keys(account bytea, asset bigint default null) returns setof bigint
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set plan_cache_mode = force_custom_plan
as $$
begin
  if strata.topology() = 'citus' then
    return query select (j #>> '{}')::bigint from strata.in_shards_rows_of(account, 'account_keys', account::text, asset::text) j;
    return;
  end if;
  if not strata.state_is_stale() then
    return query select c.asset_id from strata.account_balances_current c
                  where c.account_address = account and (asset is null or c.asset_id = asset);
    return;
  end if;
  return query
    select distinct h.asset_id
      from (select b.account_address, b.asset_id from strata.account_balances b
            union all
            select o.account_address, o.asset_id from strata.account_balances_opening o) h
     where h.account_address = account and (asset is null or h.asset_id = asset);
end
$$;

comment on function strata.account_keys(bytea, bigint) is
  'The assets that an account has ever had a balance in (one of them, where it is given): from the state, or from history while the state is stale.';
--! EndIncluded analytics/account_keys.sql
--! Included analytics/balance_movements.sql
create or replace function strata.balance_movements(
  from_time timestamptz, to_time timestamptz, unit text default 'day', asset bigint default null, account bytea default null
)
returns table (account_address bytea, asset_id bigint, period timestamptz, inflow numeric, outflow numeric, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows_of(account, 'balance_movements', from_time::text, to_time::text, unit::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, period timestamptz, inflow numeric, outflow numeric, changes bigint);
    return;
  end if;
  perform from strata.periods(unit, from_time, to_time, asset);
  if exists (select from strata.assets a where not a.observed and (asset is null or a.asset_id = asset)) then
    perform strata.require_retained('changes', from_time);
    return query execute format($changes$
      select c.account_address, c.asset_id, %s as period, coalesce(sum(c.delta) filter (where c.delta > 0), 0),
             coalesce(-sum(c.delta) filter (where c.delta < 0), 0), count(*)
        from strata.balance_changes c where c.block_time >= %L and c.block_time < %L%s group by 1, 2, 3
    $changes$, strata.period_expression(unit, 'c.block_time'), from_time, to_time,
      concat(' and c.asset_id = ' || asset, ' and c.account_address = ' || quote_literal(account)));
  end if;
  -- Observed balances have no changes: what moved is the difference of one balance to the next.
  if exists (select from strata.assets a where a.observed and (asset is null or a.asset_id = asset)) then
    return query
      select s.account_address, s.asset_id, s.period, sum(greatest(s.balance - s.prior, 0)), sum(greatest(s.prior - s.balance, 0)), count(*)
        from strata.balance_steps(from_time, to_time, unit, asset, account) s join strata.assets a on a.asset_id = s.asset_id
       where s.period is not null and a.observed group by 1, 2, 3;
  end if;
end
$$;

comment on function strata.balance_movements(timestamptz, timestamptz, text, bigint, bytea) is
  'What came in and went out of every account (or one), by asset and hour, day, week or month (UTC) of a span: from the changes, or for observed balances from one balance row to the next. changes counts those.';
--! EndIncluded analytics/balance_movements.sql
--! Included analytics/balance_steps.sql
create or replace function strata.balance_steps(
  from_time timestamptz, to_time timestamptz, unit text default 'hour', asset bigint default null, account bytea default null
)
returns table (
  account_address bytea, asset_id bigint, period timestamptz, "timestamp" timestamptz, until timestamptz, balance numeric, prior numeric, change_count int
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
declare
  openings text := 'strata.balances_before(%L, %L)';
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows_of(account, 'balance_steps', from_time::text, to_time::text, unit::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, period timestamptz, "timestamp" timestamptz, until timestamptz, balance numeric, prior numeric, change_count int);
    return;
  end if;
  perform strata.require_retained('balances', from_time);
  if account is not null then
    openings := $opening$(
      select %3$L::bytea as account_address, a.asset_id, l.balance, l."timestamp"
        from strata.account_keys(%3$L, %2$L) a (asset_id), strata.last_balance(%3$L, a.asset_id, %1$L) l where l.balance is not null)$opening$;
  end if;
  return query execute format($steps$
    select k.account_address, k.asset_id, k.period, k."timestamp", lead(k."timestamp", 1, %1$L) over key, k.balance, lag(k.balance, 1, 0::numeric) over key, k.change_count
      from (
        select b.account_address, b.asset_id, %2$s as period, b."timestamp", b.balance, greatest(b.change_count, 1) as change_count
          from strata.account_balances b where b."timestamp" >= %3$L and b."timestamp" < %1$L%4$s
        union all
        select o.account_address, o.asset_id, null, %3$L, o.balance, 0 from %5$s o
      ) k
    window key as (partition by k.account_address, k.asset_id order by k."timestamp", k.period nulls first)
  $steps$, to_time, strata.period_expression(unit, 'b."timestamp"'), from_time,
    concat(' and b.asset_id = ' || asset, ' and b.account_address = ' || quote_literal(account)),
    format(openings, from_time, asset, account));
end
$$;

comment on function strata.balance_steps(timestamptz, timestamptz, text, bigint, bytea) is
  'The balance rows of a span of time, each with the balance before it (prior) and the instant until which it held, and the hour, day, week or month it is of. A key that had a balance before begins with a row at from_time whose period is null. Of one asset or account, or of all: linear in the rows of the span.';
--! EndIncluded analytics/balance_steps.sql
--! Included analytics/balances_at.sql
create or replace function strata.balances_at(instant timestamptz default null, asset bigint default null, account bytea default null)
returns table (account_address bytea, asset_id bigint, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  kind   record;
  period timestamptz;
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows_of(account, 'balances_at', instant::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, balance numeric);
    return;
  end if;
  if account is not null then
    return query
      select account, k.asset_id, k.balance
        from (select a.asset_id, case when instant is null then (strata.last_balance(account, a.asset_id, 'infinity')).balance
                                      else strata.balance_at(account, a.asset_id, instant) end as balance
                from strata.account_keys(account, asset) a (asset_id)) k
       where k.balance <> 0;
    return;
  end if;
  if instant is null then
    return query select k.account_address, k.asset_id, k.balance from strata.balances_before('infinity', asset) k where k.balance <> 0;
    return;
  end if;
  -- Assets of one grain and kind at a time: they share their period, and what tells of the time since it began.
  for kind in
    select a.grain, a.observed, array_agg(a.asset_id) as assets, case when a.observed then s.observations_from else s.changes_from end as retained
      from strata.assets a, strata.balance_status s where asset is null or a.asset_id = asset group by 1, 2, 4
  loop
    period := strata.period_start(kind.grain, instant);
    if period < kind.retained then
      period := instant + interval '1 microsecond';  -- what happened since is gone: exact to the period, not to the instant
    end if;
    return query execute format($at$
      select account_address, asset_id, %1$s
        from (select b.account_address, b.asset_id, b.balance from strata.balances_before(%2$L, %3$L) b where b.asset_id = any (%4$L)) k
        full join (%5$s) since using (account_address, asset_id)
       where %1$s <> 0
    $at$, case when kind.observed then 'coalesce(since.balance, k.balance)' else 'coalesce(k.balance, 0) + coalesce(since.delta, 0)' end,
      period, asset, kind.assets, format(
        case when kind.observed then $snapshots$
          select distinct on (r.account_address, r.asset_id) r.account_address, r.asset_id, r.balance from strata.snapshot_rows r
           where r.observed_at between %L and %L and r.asset_id = any (%L)
           order by r.account_address, r.asset_id, r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc
        $snapshots$ else $changes$
          select c.account_address, c.asset_id, sum(c.delta) as delta from strata.balance_changes c
           where c.block_time between %L and %L and c.asset_id = any (%L) group by c.account_address, c.asset_id
        $changes$ end, period, instant, kind.assets));
  end loop;
end
$$;

comment on function strata.balances_at(timestamptz, bigint, bytea) is
  'Every balance but zeros as of an instant, as strata.balance_at() has it: of all accounts or one, in all assets or one. Without an instant the newest balances. Null and burn accounts are among them; see strata.holders_at().';
--! EndIncluded analytics/balances_at.sql
--! Included functions/make_weeks_writable.sql
create or replace function strata.make_weeks_writable(set_name text, from_time timestamptz) returns int
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  week   regclass;
  turned int := 0;
begin
  for week in
    select w.partition from strata.week_info(make_weeks_writable.set_name) w
     where w.kind = 'columnar' and w.upper_bound > from_time order by w.lower_bound
  loop
    perform strata.store_week(make_weeks_writable.set_name, week, 'heap');
    turned := turned + 1;
  end loop;
  return turned;
end
$$;

comment on function strata.make_weeks_writable(text, timestamptz) is
  'Turns the weeks from this instant on that are stored by column back, because rows can be deleted only where they are stored row by row; returns how many. A reorg that deep calls it: security definer, for a loader may turn weeks back and not store them by column.';
--! EndIncluded functions/make_weeks_writable.sql
--! Included functions/store_week.sql
create or replace function strata.store_week(set_name text, week regclass, method text default 'columnar') returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set client_min_messages = warning
as $$
declare
  w      record;
  root   regclass;
  name   text;
  apart  text;
  copied regclass;
  was    record;
  now_is record;
  begun  timestamptz := clock_timestamp();
begin
  if store_week.set_name <> 'balance_changes' or store_week.method not in ('columnar', 'heap') then
    raise exception '% is not stored as %', store_week.set_name, store_week.method
      using errcode = 'feature_not_supported', hint = 'Only weeks of balance_changes are stored by column: their rows never change. The method is columnar or heap.';
  end if;
  select i.* into w from strata.week_info(store_week.set_name) i where i.partition = store_week.week and i.kind in ('sharded', 'columnar');
  if w.partition is null then
    raise exception '% is no week of % on a cluster', store_week.week, store_week.set_name using errcode = 'undefined_object';
  end if;
  if (w.kind = 'columnar') = (store_week.method = 'columnar') then
    return 0;
  end if;
  if store_week.method = 'columnar' and not exists (select from pg_am where amname = 'columnar') then
    if not exists (select from pg_available_extensions e where e.name = 'citus_columnar') then
      raise exception 'this cluster has no columnar storage'
        using errcode = 'feature_not_supported', hint = 'Install the extension citus_columnar on every node; until then the week stays as it is.';
    end if;
    create extension citus_columnar;
  end if;
  select s.parent into root from strata.partition_sets s where s.set_name = store_week.set_name;
  name := w.partition_name;
  apart := name || '_anew';
  -- One connection to each node: what one statement makes the next one finds.
  perform set_config('citus.multi_shard_modify_mode', 'sequential', true);
  -- Writers of this week wait from here on, readers of the set for the exchange at the end.
  execute format('lock table %s in share row exclusive mode', week);
  perform strata.await_shards();
  select * into was from strata.week_digest(week);
  execute format('create table strata.%I (like %s including all excluding identity excluding indexes) using %I', apart, week, method);
  copied := format('strata.%I', apart)::regclass;
  perform create_distributed_table(copied, 'account_address', colocate_with => root::text);
  execute format('insert into %s select * from %s', copied, week);
  -- Named by hand, because the names that are free now are not those it is to have.
  execute format('alter table %s add constraint %I primary key (account_address, asset_id, block_time, block_num, ordinal, source_id)', copied, apart || '_pkey');
  if method = 'heap' then
    perform strata.index_sharded_week(set_name, copied);
  end if;
  select * into now_is from strata.week_digest(copied);
  if (was.row_count, was.hash) is distinct from (now_is.row_count, now_is.hash) then
    raise exception 'the copy of % is not the week: % rows with hash % there, % with % here', week, was.row_count, was.hash, now_is.row_count, now_is.hash
      using errcode = 'internal_error', hint = 'Nothing was exchanged and nothing is lost.';
  end if;
  execute format('alter table %s detach partition %s', root, week);
  execute format('drop table %s', week);
  execute format('alter index strata.%I rename to %I', apart || '_pkey', name || '_pkey');
  execute format('alter table %s rename to %I', copied, name);
  perform strata.attach_week(set_name, w.lower_bound, copied);
  insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage, stage_name, heap_order, row_count,
                                     proof, detail, started_at, swapped_at, finished_at)
  values (store_week.set_name, w.lower_bound, w.upper_bound, 'transaction', case method when 'columnar' then 'dropped' else 'undone' end, week, name, copied, name,
          'time', now_is.row_count,
          jsonb_build_object('forward', jsonb_build_object('rows', now_is.row_count, 'hash', now_is.hash::text)),
          jsonb_build_object('stored', method), begun, clock_timestamp(), clock_timestamp());
  return now_is.row_count;
end
$$;

comment on function strata.store_week(text, regclass, text) is
  'Stores a week of balance_changes on a cluster by column (columnar), or row by row again (heap), in one transaction: a copy is built beside it, compared by row count and an order-free hash of every row, and takes its place. Returns the rows, 0 when the week is stored so already. Writers of the week wait meanwhile, readers of the set for the exchange. Security definer, so that strata_maintainer may call it; a reorg goes through make_weeks_writable().';
--! EndIncluded functions/store_week.sql
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
  revoke execute on function strata.store_week(text, regclass, text) from strata_loader;
  grant execute on function strata.account(text), strata.account_text(bytea), strata.asset_id(text, text, text, numeric),
    strata.week_start(timestamptz), strata.week_name(text, timestamptz), strata.partition_bounds(regclass), strata.set_partitions(text),
    strata.period_start(text, timestamptz), strata.balance_at(bytea, bigint, timestamptz), strata.sample_predicate(text, int),
    strata.recompute_floor(), strata.recompute_balances(bytea, bigint, timestamptz, int, text), strata.verify_rows(int, timestamptz, text),
    strata.verify_state(int), strata.verify_sums(), strata.verify_snapshots(int), strata.verify_ledger(),
    strata.topology(), strata.is_distributed(oid), strata.parts_of(regclass), strata.folded_predicate(text),
    strata.in_shard_rows(bigint, text, text, text[]), strata.in_shards_rows(text, text[]),
    strata.in_shards_rows_of(bytea, text, text[]),
    strata.week_key(timestamptz), strata.week_info(text), strata.partition_type(text), strata.require_set(text),
    strata.partition_info(text), strata.partition_distribution(text), strata.find_missing_weeks(text),
    strata.explain_query(text, timestamptz, timestamptz, text), strata.consolidation_obstacles(text, regclass),
    strata.consolidation_status(text), strata.consolidation_report(text),
    strata.get_account_balance_partition_info(), strata.check_partition_distribution(), strata.find_missing_partitions(),
    strata.explain_account_balance_query(timestamptz, timestamptz, text), strata.get_partition_consolidation_status(),
    strata.weekly_consolidation_report(),
    strata.account_keys(bytea, bigint), strata.active_accounts(timestamptz, timestamptz, text, bigint),
    strata.activity_points(timestamptz, timestamptz, text, jsonb, numeric[]), strata.asset_flows(timestamptz, timestamptz, text, bigint),
    strata.balance_change(timestamptz, bigint, bytea), strata.balance_movements(timestamptz, timestamptz, text, bigint, bytea),
    strata.balance_rows(timestamptz, timestamptz, text, bigint),
    strata.balance_series(bytea, bigint, timestamptz, timestamptz, text), strata.balance_steps(timestamptz, timestamptz, text, bigint, bytea),
    strata.balances_at(timestamptz, bigint, bytea), strata.balances_before(timestamptz, bigint),
    strata.cohorts(bigint, timestamptz, timestamptz, text), strata.concentration(bigint, timestamptz, int),
    strata.holders_at(bigint, timestamptz), strata.holders_over_time(bigint, timestamptz, timestamptz, text),
    strata.label_flows(text, text, bigint, timestamptz, timestamptz, text), strata.last_balance(bytea, bigint, timestamptz),
    strata.multiplier_of(jsonb, numeric), strata.partitions_touched(), strata.period_expression(text, text),
    strata.periods(text, timestamptz, timestamptz, bigint), strata.portfolio_at(bytea, timestamptz, interval), strata.ratio(numeric, numeric, int),
    strata.require_asset(bigint), strata.require_retained(text, timestamptz), strata.scale_of(bigint),
    strata.size_bands(bigint, timestamptz, numeric[]), strata.span_of(text, timestamptz, timestamptz, bigint), strata.state_is_stale(), strata.state_is_lost(),
    strata.supply(bigint, timestamptz, timestamptz, text), strata.time_weighted_balances(bigint, timestamptz, timestamptz, bytea),
    strata.top_holders(bigint, timestamptz, int), strata.valued_steps(timestamptz, timestamptz, text)
    to strata_reader;
  grant insert, update, delete on strata.streams, strata.sources, strata.stream_batches, strata.stream_health, strata.quarantine, strata.assets,
    strata.balance_changes, strata.account_balances, strata.account_balances_current, strata.snapshot_rows,
    strata.fold_progress, strata.balance_status, strata.account_balances_opening, strata.held_openings, strata.held_deltas,
    strata.prices, strata.burn_accounts
    to strata_loader;
  -- To lock the row of a week, which takes the right to update it.
  grant update on strata.backfill_weeks to strata_loader;
  grant usage on all sequences in schema strata to strata_loader, strata_maintainer;
  grant usage, create on schema strata, strata_held to strata_maintainer;
  grant insert, update, delete on strata.partition_sets, strata.account_balances_opening, strata.maintenance_runs,
    strata.consolidations, strata.held_partitions, strata.retentions, strata.held_openings, strata.held_deltas, strata.labels,
    strata.label_views, strata.adoptions, strata.prices, strata.burn_accounts
    to strata_maintainer;
end
$$;

comment on function strata.grant_roles() is
  'Creates the group roles strata_reader, strata_loader and strata_maintainer where the caller may, and grants each the least it needs. Safe to run again.';
--! EndIncluded functions/grant_roles.sql

select strata.grant_roles();
