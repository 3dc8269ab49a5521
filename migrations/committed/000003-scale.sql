--! Previous: sha1:2a8fe3f612a2c086c8f303e6a32b6ad10fbe2ee3
--! Hash: sha1:ac5d7cb72c24aba9322b0029e766c3e8ee4e8fb7
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

-- Functions that work inside the shards of a cluster get what they need as arguments.
drop function strata.fold_deltas(int);
drop function strata.fold_late_deltas(timestamptz);
drop function strata.fold_late_state();
drop function strata.put_back_openings(bigint, timestamptz);
drop function strata.rebuild_balances(bytea, bigint, timestamptz);
drop function strata.recompute_balances(bytea, bigint, timestamptz, int);
drop function strata.verify_rows(int);
--! Included functions/topology.sql
create or replace function strata.topology() returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
return case when to_regclass('strata.shards') is null then 'single' else 'citus' end;

comment on function strata.topology() is
  'Where the warehouse lies: single, or citus once distribute() has put it on a cluster. In the copy of a function that works inside one shard, this call stands replaced by ''shard'': see make_shard_functions().';
--! EndIncluded functions/topology.sql
--! Included functions/is_distributed.sql
create or replace function strata.is_distributed(relation oid) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  found boolean;
begin
  if to_regclass('pg_catalog.pg_dist_partition') is null then
    return false;
  end if;
  execute 'select exists (select from pg_dist_partition p where p.logicalrelid = $1)' into found using relation;
  return found;
end
$$;

comment on function strata.is_distributed(oid) is
  'Whether a table lies on the nodes of a Citus cluster; false wherever there is none.';
--! EndIncluded functions/is_distributed.sql
--! Included functions/parts_of.sql
create or replace function strata.parts_of(parent regclass)
returns table (partition regclass, lower_bound timestamptz, upper_bound timestamptz, is_default boolean, leaves int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
as $$
  select c.oid::regclass, b.lower_bound, b.upper_bound, b.is_default,
         (select count(*)::int from pg_inherits leaf where leaf.inhparent = c.oid)
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral strata.partition_bounds(c.oid) b
   where i.inhparent = parts_of.parent and not i.inhdetachpending
   order by b.lower_bound
$$;

comment on function strata.parts_of(regclass) is
  'The attached partitions of a table that is partitioned by time, in order, by their real bounds; what set_partitions() says of a managed set, and a shard of itself.';
--! EndIncluded functions/parts_of.sql
--! Included functions/undoable_retention.sql
create or replace function strata.undoable_retention() returns bigint
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select max(r.retention_id)
    from strata.retentions r where r.set_name = 'account_balances' and r.undone_at is null and r.dropped_at is null;
end;

comment on function strata.undoable_retention() is
  'The newest retention of balances that can still be undone: what is added to opening balances is kept for it by period. Null when there is none.';
--! EndIncluded functions/undoable_retention.sql
--! Included functions/fold_staged.sql
create or replace function strata.fold_staged(opened timestamptz, undoable bigint) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
-- The state is looked up by key, never read whole, whatever the planner believes of staging tables without statistics.
set enable_seqscan = off
-- Estimates of staging rows are guesses; a hash join of them is right for two rows and for two hundred thousand.
set enable_nestloop = off
as $$
declare
  folded bigint;
  unfit  bigint;
begin
  -- Appends, the usual case: the state row takes the sum and hands back the balance from which the periods' rows follow.
  -- History is only written, never read, so the cost does not depend on how much of it there is.
  with staged as materialized (
    select account_address, asset_id, period, sum(delta) as delta, sum(change_count)::int as change_count,
           sum(sum(delta)) over so_far as sum_so_far, sum(sum(delta)) over key as total,
           min(period) over key as first, max(period) over key as last, min(sum(change_count)) over key > 0 as grows
      from pg_temp.balance_deltas group by account_address, asset_id, period
    window key as (partition by account_address, asset_id),
           so_far as (partition by account_address, asset_id order by period)
  ), before as materialized (
    -- A key with one period needs no look-up: its state comes back later than that period only if it was so before.
    select k.account_address, k.asset_id, k.total, k.first, k.last, case when k.first < k.last then (
             select c."timestamp" from strata.account_balances_current c
              where c.account_address = k.account_address and c.asset_id = k.asset_id) end as newest
      from staged k
     where k.grows and k.period = k.last
  ), state as (
    insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
    select account_address, asset_id, total, last from before order by account_address, asset_id
    on conflict (account_address, asset_id) do update
      set balance = c.balance + excluded.balance, "timestamp" = greatest(c."timestamp", excluded."timestamp")
    returning c.account_address, c.asset_id, c.balance, c."timestamp"
  ), appended as materialized (
    select k.account_address, k.asset_id, s.balance - k.total as seed,
           s."timestamp" = k.last and (k.newest is null or k.newest <= k.first) and k.first >= opened as at_head
      from state s join before k using (account_address, asset_id)
  ), written as (
    insert into strata.account_balances as b (account_address, asset_id, "timestamp", balance, change_count)
    select p.account_address, p.asset_id, p.period, a.seed + p.sum_so_far, p.change_count
      from staged p join appended a using (account_address, asset_id)
     where a.at_head
     order by p.account_address, p.asset_id, p.period
    on conflict (account_address, asset_id, "timestamp") do update
      set balance = excluded.balance, change_count = b.change_count + excluded.change_count
    returning 1
  ), left_over as (
    insert into pg_temp.late_deltas (account_address, asset_id, period, delta, change_count, state_done)
    select p.account_address, p.asset_id, p.period, p.delta, p.change_count, a.at_head is not null
      from staged p left join appended a using (account_address, asset_id)
     where a.at_head is not true and (p.delta <> 0 or p.change_count <> 0)
    returning 1
  )
  select (select count(*) from written), (select count(*) from left_over) into folded, unfit;

  if unfit > 0 then
    perform strata.fold_late_deltas(opened, 'infinity', undoable);
  end if;
  return folded + unfit;
end
$$;

comment on function strata.fold_staged(timestamptz, bigint) is
  'The part of fold_deltas() that brings the staged deltas into balances and state: of the whole warehouse, or of a shard. opened: where the retained balances begin; undoable: the retention whose openings must be kept as they were.';
--! EndIncluded functions/fold_staged.sql
--! Included functions/fold_late_deltas.sql
create or replace function strata.fold_late_deltas(opened timestamptz, until timestamptz, undoable bigint) returns void
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
  earliest_delta timestamptz;
  latest   timestamptz;
begin
  select greatest(min(period), opened), greatest(max(period), opened), min(period) into earliest, latest, earliest_delta from pg_temp.late_deltas;

  -- What is earlier than the rows that retention has left goes into the opening balance; while those rows can be put
  -- back, it is also kept by period.
  if undoable is not null and earliest_delta < opened then
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
  perform strata.fold_late_state(opened);
end
$$;

comment on function strata.fold_late_deltas(timestamptz, timestamptz, bigint) is
  'The part of fold_deltas() for keys whose history is touched: late changes and changes taken back. Cost follows the rows behind the earliest touched period of those keys. opened: where the retained balances begin. Rows from until on are left alone. undoable: the retention whose openings must be kept as they were.';
--! EndIncluded functions/fold_late_deltas.sql
--! Included functions/fold_late_state.sql
create or replace function strata.fold_late_state(opened timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
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

comment on function strata.fold_late_state(timestamptz) is
  'The part of fold_deltas() that brings the state of late and shrunk keys in line with their history.';
--! EndIncluded functions/fold_late_state.sql
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
    from strata.parts_of('strata.account_balances') w cross join lateral pg_partition_tree(w.partition) t
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
      first_week := coalesce(first_week, (select min(w.lower_bound) from strata.parts_of('strata.account_balances') w), 'infinity');
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
--! Included functions/fold_deltas.sql
create or replace function strata.fold_deltas(hash_partition int default null, opened timestamptz default null, undoable bigint default null) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  folded bigint;
begin
  if strata.topology() <> 'shard' then
    perform strata.lock_fold(hash_partition);
    perform strata.heal_state();
    if hash_partition is null then
      perform strata.stage_taken_back();
    end if;
    select s.opened_before into strict opened from strata.balance_status s;
    -- Openings that a retention may have to put back as they were.
    if opened > '-infinity' then
      undoable := strata.undoable_retention();
    end if;
    if strata.topology() = 'citus' then
      -- What was staged in this session goes to the shards, once; under the lock of the fold nobody else has rows there.
      insert into strata.balance_deltas select * from pg_temp.balance_deltas;
      delete from pg_temp.balance_deltas;
      return strata.in_shards('fold_deltas', null, opened::text, undoable::text);
    end if;
  elsif strata.state_is_lost() then
    perform strata.rebuild_state();
  end if;
  folded := strata.fold_staged(opened, undoable);
  -- A transaction may fold more than once.
  delete from pg_temp.balance_deltas;
  delete from pg_temp.late_deltas;
  if strata.topology() = 'shard' and pg_relation_size('pg_temp.balance_deltas') > 4000000 then
    truncate pg_temp.balance_deltas, pg_temp.late_deltas, pg_temp.late_periods;
  end if;
  return folded;
end
$$;

comment on function strata.fold_deltas(int, timestamptz, bigint) is
  'Folds pg_temp.balance_deltas into account_balances and account_balances_current inside the caller''s transaction; returns the rows touched. Afterwards every balance equals a full recompute. Weeks of the periods must exist. With a hash partition, all deltas are of its accounts, and other partitions may be folded at the same time. The other arguments are for its copies in the shards of a cluster.';
--! EndIncluded functions/fold_deltas.sql
--! Included functions/state_is_stale.sql
create or replace function strata.state_is_stale() returns boolean
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if (select s.stale from strata.balance_status s) then
    return true;
  end if;
  -- On a cluster each shard looks after its own part, when it folds.
  return strata.topology() = 'single' and strata.state_is_lost();
end
$$;

comment on function strata.state_is_stale() is
  'Whether account_balances_current cannot seed a fold: marked stale, or empty beside balances (truncated, or not restored).';
--! EndIncluded functions/state_is_stale.sql
--! Included functions/rebuild_state.sql
create or replace function strata.rebuild_state() returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  keys bigint;
begin
  if strata.topology() = 'citus' then
    keys := strata.in_shards('rebuild_state');
    update strata.balance_status set stale = false, reason = null, changed_at = statement_timestamp();
    return keys;
  end if;
  delete from strata.account_balances_current;
  insert into strata.account_balances_current (account_address, asset_id, balance, "timestamp")
  select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
    from (
      select account_address, asset_id, balance, "timestamp", true as retained from strata.account_balances
       where "timestamp" >= (select s.opened_before from strata.balance_status s)
      union all
      select account_address, asset_id, balance, "timestamp", false from strata.account_balances_opening
    ) known
   order by account_address, asset_id, retained desc, "timestamp" desc;
  get diagnostics keys = row_count;
  if strata.topology() = 'single' then
    update strata.balance_status set stale = false, reason = null, changed_at = statement_timestamp();
  end if;
  return keys;
end
$$;

comment on function strata.rebuild_state() is
  'Makes account_balances_current anew from the balances and opening rows; returns its keys. Reads all of history: for healing only.';
--! EndIncluded functions/rebuild_state.sql
--! Included functions/folded_predicate.sql
create or replace function strata.folded_predicate(relation text) returns text
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  with progress as (
    select src.source_id, case count(p.folded_block) when 4 then min(p.folded_block) else -1 end as whole, coalesce(max(p.folded_block), -1) as partly
      from strata.sources src left join strata.fold_progress p on p.source_id = src.source_id
     group by src.source_id
  ), waiting as (
    select w.* from progress w
     where exists (select from strata.stream_batches b where b.source_id = w.source_id and b.end_block > w.whole)
  )
  select coalesce(string_agg(format(
           case when w.partly = w.whole then '(%1$I.source_id <> %2$s or %1$I.block_num <= %3$s)'
           else '(%1$I.source_id <> %2$s or %1$I.block_num <= %3$s or (%1$I.block_num <= %4$s and exists (select from strata.fold_progress p'
           ' where p.source_id = %2$s and %1$I.block_num <= p.folded_block and satisfies_hash_partition('
           '''strata.account_balances_current''::regclass, 4, p.hash_partition, %1$I.account_address))))' end,
           relation, w.source_id, w.whole, w.partly), ' and '), 'true')
    from waiting w;
end;

comment on function strata.folded_predicate(text) is
  'SQL condition that holds for the balance changes of a relation that are folded; as text, because it is simply true while nothing waits. What is loaded but waits for fold_pending() is in no balance yet, and must not be expected there.';
--! EndIncluded functions/folded_predicate.sql
--! Included functions/recompute_balances.sql
create or replace function strata.recompute_balances(account bytea, asset bigint, since timestamptz, one_in int default 1, folded text default null)
returns table (account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric, change_count int)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
declare
  -- strata.period_start() is written out: called per row it would cost more than all the rest.
  keyed text := concat(' and %1$s.account_address = ' || quote_literal(account), ' and %1$s.asset_id = ' || asset, ' and %2$s');
begin
  if folded is null then
    folded := strata.folded_predicate('c');
  end if;
  return query execute format($recompute$
    with base as (
      select distinct on (k.account_address, k.asset_id) k.account_address, k.asset_id, k.balance
        from (
          select b.account_address, b.asset_id, b.balance, b."timestamp", true as retained
            from strata.account_balances b
           where b."timestamp" < %1$L and b."timestamp" >= %5$L%2$s
          union all
          select o.account_address, o.asset_id, o.balance, o."timestamp", false
            from strata.account_balances_opening o where o."timestamp" < %1$L%3$s
        ) k
       order by k.account_address, k.asset_id, k.retained desc, k."timestamp" desc
    ), by_period as (
      select c.account_address, c.asset_id, 
             date_bin(case a.grain when 'hour' then interval '1 hour' else interval '1 day' end, c.block_time,
                      timestamptz '1970-01-01 00:00:00+00') as period,
             sum(c.delta) as delta, count(*)::int as changes
        from strata.balance_changes c join strata.assets a on a.asset_id = c.asset_id
       where c.block_time >= %1$L%4$s and %6$s
       group by 1, 2, 3
    )
    select p.account_address, p.asset_id, p.period,
           coalesce(base.balance, 0) + sum(p.delta) over (partition by p.account_address, p.asset_id order by p.period),
           p.changes
      from by_period p left join base on base.account_address = p.account_address and base.asset_id = p.asset_id
  $recompute$, since, 
    format(keyed, 'b', strata.sample_predicate('b', one_in)),
    format(keyed, 'o', strata.sample_predicate('o', one_in)),
    format(keyed, 'c', strata.sample_predicate('c', one_in)),
    (select s.opened_before from strata.balance_status s), folded);
end
$$;

comment on function strata.recompute_balances(bytea, bigint, timestamptz, int, text) is
  'What account_balances ought to hold from an instant on (a period''s start): summed from the folded changes, on top of the last balance before. For all keys, or those of an account, an asset, both, or one in so many accounts. The reference of verify and rebuild. folded: what folded_predicate(''c'') says, for a shard, which has no ledger to ask.';
--! EndIncluded functions/recompute_balances.sql
--! Included functions/rebuild_balances.sql
create or replace function strata.rebuild_balances(
  account bytea default null, asset bigint default null, from_time timestamptz default null, folded text default null
) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  since   timestamptz;
  keyed   text := concat(' and account_address = ' || quote_literal(account), ' and asset_id = ' || asset);
  rebuilt bigint;
begin
  if strata.topology() <> 'shard' then
    perform strata.share_gates('account_balances');
    perform strata.lock_fold();
  end if;
  -- Asked under the lock: retention may have dropped weeks while we waited for it.
  since := date_bin(interval '1 day', greatest(from_time, (select greatest(s.opened_before, s.changes_from) from strata.balance_status s)),
                    timestamptz '1970-01-01 00:00:00+00');  -- a whole period of either grain
  if strata.topology() = 'citus' then
    rebuilt := strata.in_shards('rebuild_balances', account::text, asset::text, since::text, strata.folded_predicate('c'));
    if account is null and asset is null then
      update strata.balance_status set stale = false, reason = null, changed_at = statement_timestamp();
    end if;
    return rebuilt + strata.rebuild_observed(account, asset, from_time);
  end if;
  -- Observed balances have no changes to be made from again: rebuild_observed() makes them from their snapshots.
  execute format('delete from strata.account_balances where "timestamp" >= %L%s
                     and asset_id not in (select a.asset_id from strata.assets a where a.observed)', since, keyed);
  execute format($rebuild$
    insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
    select account_address, asset_id, "timestamp", balance, change_count
      from strata.recompute_balances(%L, %L, %L, 1, %L)
     order by account_address, asset_id, "timestamp"
  $rebuild$, account, asset, since, folded);
  get diagnostics rebuilt = row_count;
  if account is null and asset is null then
    perform strata.rebuild_state();
  else
    execute format('delete from strata.account_balances_current where true%s', keyed);
    execute format($state$
      insert into strata.account_balances_current (account_address, asset_id, balance, "timestamp")
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from (
          select account_address, asset_id, balance, "timestamp", true as retained from strata.account_balances
           where "timestamp" >= (select s.opened_before from strata.balance_status s)%1$s
          union all
          select account_address, asset_id, balance, "timestamp", false from strata.account_balances_opening where true%1$s
        ) known
       order by account_address, asset_id, retained desc, "timestamp" desc
    $state$, keyed);
  end if;
  if strata.topology() = 'single' then
    rebuilt := rebuilt + strata.rebuild_observed(account, asset, from_time);
  end if;
  return rebuilt;
end
$$;

comment on function strata.rebuild_balances(bytea, bigint, timestamptz, text) is
  'Recomputes balances from the changes: of one account, of one asset, of both or of everything, from an instant on; the state follows. Observed balances are derived again from their snapshots. Returns the rows written. folded: for a shard, see recompute_balances().';
--! EndIncluded functions/rebuild_balances.sql
--! Included functions/verify_rows.sql
create or replace function strata.verify_rows(one_in int default 1, since timestamptz default null, folded text default null)
returns table (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric, change_count int)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
begin
  if since is null then
    since := strata.recompute_floor();
  end if;
  if strata.topology() = 'citus' then
    return query select r.*
        from strata.in_shards_rows('verify_rows', one_in::text, since::text, strata.folded_predicate('c')) j,
             jsonb_to_record(j) r (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric, change_count int);
    return;
  end if;
  return query execute format($verify$
    with stored as materialized (
      select b.account_address, b.asset_id, b."timestamp", b.balance, b.change_count
        from strata.account_balances b
       where b."timestamp" >= %1$L and %2$s
         and not exists (select from strata.assets a where a.asset_id = b.asset_id and a.observed)
    ), recomputed as materialized (
      select r.account_address, r.asset_id, r."timestamp", r.balance, r.change_count
        from strata.recompute_balances(null, null, %1$L, %3$s, %4$L) r
    )
    select 'stored but not recomputed', d.* from (table stored except table recomputed) d
    union all
    select 'recomputed but not stored', d.* from (table recomputed except table stored) d
  $verify$, since, strata.sample_predicate('b', one_in), one_in, folded);
end
$$;

comment on function strata.verify_rows(int, timestamptz, text) is
  'Balance rows that differ from a full recompute, both ways; one_in takes a sample of accounts. No row means that all are right. The other arguments are for its copies in the shards of a cluster.';
--! EndIncluded functions/verify_rows.sql
--! Included functions/verify_state.sql
create or replace function strata.verify_state(one_in int default 1)
returns table (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
begin
  if strata.topology() = 'citus' then
    return query select r.*
        from strata.in_shards_rows('verify_state', one_in::text) j,
             jsonb_to_record(j) r (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric);
    return;
  end if;
  return query execute format($verify$
    with state as materialized (
      select c.account_address, c.asset_id, c."timestamp", c.balance from strata.account_balances_current c where %1$s
    ), newest as materialized (
      select distinct on (k.account_address, k.asset_id) k.account_address, k.asset_id, k."timestamp", k.balance
        from (
          select b.account_address, b.asset_id, b."timestamp", b.balance, true as retained
            from strata.account_balances b
           where b."timestamp" >= (select s.opened_before from strata.balance_status s) and %2$s
          union all
          select o.account_address, o.asset_id, o."timestamp", o.balance, false
            from strata.account_balances_opening o where %3$s
        ) k
       order by k.account_address, k.asset_id, k.retained desc, k."timestamp" desc
    )
    select 'state without such a newest balance', d.* from (table state except table newest) d
    union all
    select 'newest balance without such a state', d.* from (table newest except table state) d
  $verify$, strata.sample_predicate('c', one_in), strata.sample_predicate('b', one_in), strata.sample_predicate('o', one_in));
end
$$;

comment on function strata.verify_state(int) is
  'Keys whose current balance is not their newest stored balance, both ways; one_in takes a sample of accounts.';
--! EndIncluded functions/verify_state.sql
--! Included functions/verify_sums.sql
create or replace function strata.verify_sums()
returns table (asset_id bigint, total numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return query execute format($verify$
    select k.asset_id, sum(k.amount)
      from (
        select s.asset_id, sum(s.balance) as amount from strata.account_balances_current s group by s.asset_id
        union all
        -- One half of a transfer may be folded before the other: what waits belongs to the sum.
        select c.asset_id, sum(c.delta) from strata.balance_changes c where not (%s) group by c.asset_id
      ) k
      join strata.assets a on a.asset_id = k.asset_id and a.zero_sum
     group by k.asset_id
    having sum(k.amount) <> 0
  $verify$, strata.folded_predicate('c'));
end
$$;

comment on function strata.verify_sums() is
  'Assets whose balances, with the changes that wait to be folded, do not sum to zero over all accounts, the zero address included: a change is missing or doubled. Only assets whose every change has its counterpart.';
--! EndIncluded functions/verify_sums.sql
--! Included functions/verify_snapshots.sql
create or replace function strata.verify_snapshots(one_in int default 1)
returns table (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
as $$
declare
  since timestamptz := (select greatest(s.observations_from, s.opened_before) from strata.balance_status s);
begin
  if strata.topology() = 'citus' then
    return query select r.*
        from strata.in_shards_rows('verify_snapshots', one_in::text) j,
             jsonb_to_record(j) r (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric);
    return;
  end if;
  return query execute format($verify$
    with observed as materialized (
      select distinct on (r.account_address, r.asset_id, p.period)
             r.account_address, r.asset_id, p.period, r.balance, r.usd_value, r.data
        from strata.snapshot_rows r
        join strata.assets a on a.asset_id = r.asset_id
       cross join lateral (select strata.period_start(a.grain, r.observed_at) as period) p
       where r.observed_at >= %1$L and %2$s
       order by 1, 2, 3, r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc
    )
    select 'observed but read otherwise', o.account_address, o.asset_id, o.period, o.balance
      from observed o
      left join lateral (
        select b.balance, b.usd_value, b.data from strata.account_balances b
         where b.account_address = o.account_address and b.asset_id = o.asset_id and b."timestamp" <= o.period
         order by b."timestamp" desc limit 1
      ) b on true
      left join strata.account_balances_opening k on k.account_address = o.account_address and k.asset_id = o.asset_id
     where case when b.balance is null then k.balance is distinct from o.balance
                else (b.balance, b.usd_value, b.data) is distinct from (o.balance, o.usd_value, o.data) end
    union all
    select 'stored but not observed', b.account_address, b.asset_id, b."timestamp", b.balance
      from strata.account_balances b
      join strata.assets a on a.asset_id = b.asset_id and a.observed
      left join observed o on o.account_address = b.account_address and o.asset_id = b.asset_id and o.period = b."timestamp"
     where b."timestamp" >= %1$L and %3$s and o.period is null
  $verify$, since, strata.sample_predicate('r', one_in), strata.sample_predicate('b', one_in));
end
$$;

comment on function strata.verify_snapshots(int) is
  'Observed balances that read otherwise than the latest snapshot of their period says, and stored ones that nobody observed; one_in takes a sample of accounts. No row means that all are right.';
--! EndIncluded functions/verify_snapshots.sql
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
  stage    text := 'pg_temp.balance_deltas';
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
  if strata.topology() = 'citus' then
    -- Shards are the hash partitions, and all of them are folded at once: what is asked for by partition comes with the first.
    if hash_partition > 0 then
      return;
    end if;
    hash_partition := null;
    perform strata.lock_fold();
    stage := 'strata.balance_deltas';
  end if;
  -- Literal times: the ledger knows when the rows of these blocks are, so that other weeks are not even planned for.
  execute format($stage$
    insert into %8$s (account_address, asset_id, period, delta, change_count)
    select account_address, asset_id, date_bin(interval '1 %4$s', block_time, timestamptz '1970-01-01 00:00:00+00'), sum(delta), count(*)
      from strata.balance_changes
     where source_id = %1$s and block_num between %2$s and %3$s and block_time between %5$L and %6$L
       and %7$s
     group by 1, 2, 3
  $stage$, source_id, from_block, to_block, grain, earliest, latest,
    case when hash_partition is null then 'true'
         else format('satisfies_hash_partition(''strata.account_balances_current''::regclass, 4, %s, account_address)', hash_partition) end, stage);

  -- A balance of nothing that has a name is shown by no view and checked by no sum.
  execute format($unknown$
    select d.asset_id from (select distinct b.asset_id from %s b) d
     where not exists (select from strata.assets a where a.asset_id = d.asset_id) limit 1
  $unknown$, stage) into unknown;
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
--! Included functions/fold_pending.sql
create or replace function strata.fold_pending(
  source_id smallint, hash_partition int, rows_max bigint default 500000, across_gaps boolean default false,
  out to_block bigint, out row_count bigint
)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  next record;
  part int;
begin
  perform strata.share_gates('account_balances');
  -- On a cluster all shards fold at once: whichever partition is asked for, the next blocks of all are folded.
  part := case when strata.topology() = 'single' then hash_partition end;
  if part is null then
    perform set_config('citus.multi_shard_modify_mode', 'parallel', true);  -- much work, and nothing but a fold in this transaction
  end if;
  perform strata.lock_fold(part);
  select n.* into next from strata.next_fold(source_id, hash_partition, rows_max, across_gaps) n;
  if next.to_block is null then
    return;
  end if;
  perform strata.stage_changes(source_id, next.from_block, next.to_block, part);
  perform strata.fold_deltas(part);
  perform strata.advance_fold(source_id, part, next.to_block);
  to_block := next.to_block;
  row_count := next.row_count;
end
$$;

comment on function strata.fold_pending(smallint, int, bigint, boolean) is
  'Folds the next loaded but not yet folded changes of a source for one hash partition of the state (0 to 3), in block order, up to the first gap unless told to go across; says how far it came, nulls when nothing waited. Four callers may work side by side, one per partition.';
--! EndIncluded functions/fold_pending.sql
--! Included functions/fold_snapshots.sql
create or replace function strata.fold_snapshots(grain text, only_changes boolean) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
-- The touched keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  step     interval := case fold_snapshots.grain when 'hour' then interval '1 hour' else interval '1 day' end;
  earliest timestamptz;
  lost     boolean;
  folded   bigint;
begin
  select min(t.first), bool_or(t.shrinks) into earliest, lost from pg_temp.snapshot_touched t;
  if earliest is null then
    return 0;
  end if;
  if strata.topology() = 'shard' then
    if strata.state_is_lost() then
      perform strata.rebuild_state();
    end if;
  else
    perform strata.lock_fold();
    perform strata.heal_state();
    if strata.topology() = 'citus' then
      insert into strata.snapshot_touched select * from pg_temp.snapshot_touched;
      delete from pg_temp.snapshot_touched;
      return strata.in_shards('fold_snapshots', grain, only_changes::text);
    end if;
  end if;

  insert into pg_temp.snapshot_keys (account_address, asset_id, first, shrinks, state_time)
  select t.account_address, t.asset_id, t.first, t.shrinks, s."timestamp"
    from (
      select account_address, asset_id, min(first) as first, bool_or(shrinks) as shrinks
        from pg_temp.snapshot_touched group by account_address, asset_id
    ) t
    left join strata.account_balances_current s on s.account_address = t.account_address and s.asset_id = t.asset_id;
  delete from pg_temp.snapshot_touched;
  if only_changes then
    perform strata.find_prior_snapshots(earliest);
  end if;

  -- The latest observation of each period from the first touched one on, and whether it differs from the one before.
  -- The literal bound lets the planner leave out the weeks before.
  execute format($periods$
    insert into pg_temp.snapshot_periods (account_address, asset_id, period, balance, usd_value, data, stored)
    select k.account_address, k.asset_id, w.period, w.balance, w.usd_value, w.data, w.stored
      from pg_temp.snapshot_keys k
     cross join lateral (
       select l.period, l.balance, l.usd_value, l.data,
              not %2$L or not lag(true, 1, k.known) over by_time
                or (l.balance, l.usd_value, l.data) is distinct from
                   (lag(l.balance, 1, k.balance) over by_time, lag(l.usd_value, 1, k.usd_value) over by_time, lag(l.data, 1, k.data) over by_time) as stored
         from (
           select distinct on (date_bin(%3$L, r.observed_at, '1970-01-01 00:00:00+00'))
                  date_bin(%3$L, r.observed_at, '1970-01-01 00:00:00+00') as period, r.balance, r.usd_value, r.data
             from strata.snapshot_rows r
            where r.account_address = k.account_address and r.asset_id = k.asset_id
              and r.observed_at >= k.first and r.observed_at >= %1$L
            order by 1, r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc
         ) l
       window by_time as (order by l.period)
     ) w
  $periods$, earliest, only_changes, step);

  if lost or only_changes then
    execute format($gone$
      delete from strata.account_balances b using pg_temp.snapshot_keys k
       where b.account_address = k.account_address and b.asset_id = k.asset_id
         and b."timestamp" >= k.first and b."timestamp" >= %1$L
         and not exists (
           select from pg_temp.snapshot_periods p
            where p.account_address = b.account_address and p.asset_id = b.asset_id and p.period = b."timestamp" and p.stored)
    $gone$, earliest);
  end if;
  insert into strata.account_balances as b (account_address, asset_id, "timestamp", balance, change_count, usd_value, data)
  select account_address, asset_id, period, balance, 0, usd_value, data
    from pg_temp.snapshot_periods where stored order by account_address, asset_id, period
  on conflict (account_address, asset_id, "timestamp") do update
    set balance = excluded.balance, usd_value = excluded.usd_value, data = excluded.data
    where (b.balance, b.usd_value, b.data) is distinct from (excluded.balance, excluded.usd_value, excluded.data);
  get diagnostics folded = row_count;

  perform strata.fold_snapshot_state();
  delete from pg_temp.snapshot_keys;
  delete from pg_temp.snapshot_periods;
  if strata.topology() = 'shard' and pg_relation_size('pg_temp.snapshot_periods') > 4000000 then
    truncate pg_temp.snapshot_touched, pg_temp.snapshot_keys, pg_temp.snapshot_periods;
  end if;
  return folded;
end
$$;

comment on function strata.fold_snapshots(text, boolean) is
  'Derives account_balances and the state from snapshot_rows for the keys that this transaction stored or took back, from the first touched period on; returns the rows written. The latest observation of a period is its row; with only_changes only where balance, usd_value or data differ from the period before. The result does not depend on the order of arrival.';
--! EndIncluded functions/fold_snapshots.sql
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
  if strata.topology() <> 'shard' then
    perform strata.lock_fold();
  end if;
  if strata.topology() = 'citus' then
    keys := strata.in_shards('carry_forward_openings', cutoff::text, retention_id::text);
    update strata.balance_status set opened_before = greatest(opened_before, cutoff);
    return keys;
  end if;
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
  if strata.topology() = 'single' then
    update strata.balance_status set opened_before = greatest(opened_before, cutoff);
  end if;
  return keys;
end
$$;

comment on function strata.carry_forward_openings(timestamptz, bigint) is
  'Writes the balance of every key at the cutoff into account_balances_opening; returns the keys written. Retention calls it before it takes the weeks out, and has the rows it writes over kept for its undo. Rows before the cutoff are out of the reckoning from its commit on, attached or not.';
--! EndIncluded functions/carry_forward_openings.sql
--! Included functions/put_back_openings.sql
create or replace function strata.put_back_openings(retention_id bigint, cutoff timestamptz, opened timestamptz, undoable bigint) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
as $$
#variable_conflict use_column
declare
  put_back bigint;
begin
  if strata.topology() = 'citus' then
    return strata.in_shards('put_back_openings', retention_id::text, cutoff::text, opened::text, undoable::text);
  elsif strata.topology() = 'single' then
    perform strata.open_deltas();
  end if;
  delete from strata.account_balances_opening o using strata.held_openings h
   where h.retention_id = put_back_openings.retention_id
     and o.account_address = h.account_address and o.asset_id = h.asset_id;
  insert into strata.account_balances_opening (account_address, asset_id, balance, "timestamp")
  select h.account_address, h.asset_id, h.balance, h."timestamp"
    from strata.held_openings h
   where h.retention_id = put_back_openings.retention_id and h.balance is not null;
  get diagnostics put_back = row_count;

  -- What came late meanwhile went into openings that are gone now: it is folded into the rows that are back, and only
  -- into those; later ones and the state have it already.
  insert into pg_temp.late_deltas (account_address, asset_id, period, delta, change_count, state_done)
  select d.account_address, d.asset_id, d.period, d.delta, d.change_count, true
    from strata.held_deltas d
   where d.retention_id = put_back_openings.retention_id and (d.delta <> 0 or d.change_count <> 0);
  if found then
    perform strata.fold_late_deltas(put_back_openings.opened, cutoff, undoable);
    delete from pg_temp.late_deltas;
  end if;

  -- The newest row of such a key may be another one than its opening knew of.
  with newest as materialized (
    select k.account_address, k.asset_id, coalesce(r."timestamp", o."timestamp") as "timestamp"
      from (select distinct d.account_address, d.asset_id from strata.held_deltas d
             where d.retention_id = put_back_openings.retention_id) k
      left join lateral (
        select b."timestamp" from strata.account_balances b
         where b.account_address = k.account_address and b.asset_id = k.asset_id
           and b."timestamp" >= put_back_openings.opened
         order by b."timestamp" desc limit 1
      ) r on true
      left join strata.account_balances_opening o on o.account_address = k.account_address and o.asset_id = k.asset_id
  ), gone as (
    delete from strata.account_balances_current c using newest n
     where c.account_address = n.account_address and c.asset_id = n.asset_id and n."timestamp" is null
  )
  update strata.account_balances_current c set "timestamp" = n."timestamp"
    from newest n
   where c.account_address = n.account_address and c.asset_id = n.asset_id and c."timestamp" <> n."timestamp";

  delete from strata.held_openings h where h.retention_id = put_back_openings.retention_id;
  delete from strata.held_deltas d where d.retention_id = put_back_openings.retention_id;
  return put_back;
end
$$;

comment on function strata.put_back_openings(bigint, timestamptz, timestamptz, bigint) is
  'The part of undo_retention() for balances: opening rows are again what they were before the retention, and what late changes added to them since goes to the rows of its weeks, which are attached again. undoable: the retention before it, if that can still be undone. Returns the opening rows.';
--! EndIncluded functions/put_back_openings.sql
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
      for part in select t.relid from pg_partition_tree(h.partition::regclass) t join pg_class c on c.oid = t.relid
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
--! Included functions/mark_state_stale.sql
create or replace function strata.mark_state_stale(reason text default 'marked by hand') returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  update strata.balance_status set stale = true, reason = mark_state_stale.reason, changed_at = statement_timestamp();
end
$$;

comment on function strata.mark_state_stale(text) is
  'Says that account_balances_current is not to be trusted: the next fold rebuilds it from history first.';
--! EndIncluded functions/mark_state_stale.sql
--! Included functions/note_changes_dropped.sql
create or replace function strata.note_changes_dropped(cutoff timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  update strata.balance_status set changes_from = greatest(changes_from, cutoff), changed_at = statement_timestamp();
end
$$;

comment on function strata.note_changes_dropped(timestamptz) is
  'Says that balance changes before the cutoff are gone: verify and rebuild start there, from the balances that were stored by then.';
--! EndIncluded functions/note_changes_dropped.sql
--! Included functions/note_snapshots_dropped.sql
create or replace function strata.note_snapshots_dropped(cutoff timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  update strata.balance_status set observations_from = greatest(observations_from, cutoff), changed_at = statement_timestamp();
end
$$;

comment on function strata.note_snapshots_dropped(timestamptz) is
  'Says that rows of snapshot_rows before the cutoff are gone: the balances they made stay as they are, and later arrivals of that time are quarantined.';
--! EndIncluded functions/note_snapshots_dropped.sql
--! Included analytics/scale_of.sql
create or replace function strata.scale_of(asset bigint) returns numeric
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  -- By its text: power() loses digits of small powers before PostgreSQL 16.
  return ('1e-' || coalesce((select a.decimals from strata.assets a where a.asset_id = asset), 0)::text)::numeric;
end
$$;

comment on function strata.scale_of(bigint) is
  'What a balance of the asset is multiplied with to be an amount in whole units: 10 to the power of its decimals, inverted; 1 while they are unknown.';
--! EndIncluded analytics/scale_of.sql
--! Included analytics/account_keys.sql
create or replace function strata.account_keys(account bytea, asset bigint default null) returns setof bigint
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set plan_cache_mode = force_custom_plan
as $$
begin
  if strata.topology() = 'citus' then
    return query select (j #>> '{}')::bigint from strata.in_shards_rows('account_keys', account::text, asset::text) j;
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
--! Included analytics/balance_rows.sql
create or replace function strata.balance_rows(from_time timestamptz, to_time timestamptz, unit text, asset bigint default null)
returns table (account_address bytea, period timestamptz, change_count bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows('balance_rows', from_time::text, to_time::text, unit::text, asset::text) j, jsonb_to_record(j) r (account_address bytea, period timestamptz, change_count bigint);
    return;
  end if;
  return query execute format($rows$
    select b.account_address, %s, sum(greatest(b.change_count, 1)) from strata.account_balances b
     where b."timestamp" >= %L and b."timestamp" < %L%s group by 1, 2
  $rows$, strata.period_expression(unit, 'b."timestamp"'), from_time, to_time, ' and b.asset_id = ' || asset);
end
$$;

comment on function strata.balance_rows(timestamptz, timestamptz, text, bigint) is
  'Which accounts had changes in which hour, day, week or month (UTC) of a span, and how many: one row each.';
--! EndIncluded analytics/balance_rows.sql
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
    return query select r.* from strata.in_shards_rows('balance_movements', from_time::text, to_time::text, unit::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, period timestamptz, inflow numeric, outflow numeric, changes bigint);
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
    return query select r.* from strata.in_shards_rows('balance_steps', from_time::text, to_time::text, unit::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, period timestamptz, "timestamp" timestamptz, until timestamptz, balance numeric, prior numeric, change_count int);
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
    return query select r.* from strata.in_shards_rows('balances_at', instant::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, balance numeric);
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
--! Included analytics/balances_before.sql
create or replace function strata.balances_before(cut timestamptz, asset bigint default null)
returns table (account_address bytea, asset_id bigint, balance numeric, "timestamp" timestamptz)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
  of_key text := 'k.account_address, k.asset_id, k.balance, k."timestamp"';
  of_asset text := coalesce(' and k.asset_id = ' || asset, '');
  -- Keys at rest since then are read from the state, and only the others from history.
  is_stale boolean := strata.state_is_stale();
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows('balances_before', cut::text, asset::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, balance numeric, "timestamp" timestamptz);
    return;
  end if;
  perform strata.require_retained('balances', cut);
  if not is_stale then
    return query execute format('select %s from strata.account_balances_current k where k."timestamp" < %L%s', of_key, cut, of_asset);
    if not exists (select from strata.account_balances_current c where c."timestamp" >= cut and (asset is null or c.asset_id = asset)) then
      return;
    end if;
  end if;
  return query execute format($history$
    select distinct on (k.account_address, k.asset_id) %1$s
      from (
        select %1$s from strata.account_balances k where k."timestamp" >= %2$L and k."timestamp" < %3$L%4$s
        union all
        select %1$s from strata.account_balances_opening k where true%4$s
      ) k %5$s
     order by k.account_address, k.asset_id, k."timestamp" desc
  $history$, of_key, opened, cut, of_asset, case when not is_stale then format(
      'join strata.account_balances_current s on s.account_address = k.account_address and s.asset_id = k.asset_id and s."timestamp" >= %L', cut) end);
end
$$;

comment on function strata.balances_before(timestamptz, bigint) is
  'The last balance of every key (of one asset, or of all) in periods that begin before an instant, and the period it is from. Balances of zero are among them. Keys at rest since then come from the state, the others from the weeks before.';
--! EndIncluded analytics/balances_before.sql
--! Included analytics/valued_steps.sql
create or replace function strata.valued_steps(from_time timestamptz, to_time timestamptz, standard text)
returns table (account_address bytea, asset_id bigint, usd numeric, seconds numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
declare
  assets bigint[] := array(select a.asset_id from strata.assets a where a.standard = valued_steps.standard);
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows('valued_steps', from_time::text, to_time::text, standard::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, usd numeric, seconds numeric);
    return;
  end if;
  perform strata.require_retained('balances', from_time);
  return query execute format($steps$
    select k.account_address, k.asset_id,
           coalesce(k.usd_value, k.balance * strata.scale_of(k.asset_id) * (
             select p.usd from strata.prices p where p.asset_id = k.asset_id and p.priced_at <= k."timestamp" order by p.priced_at desc limit 1)),
           extract(epoch from lead(k."timestamp", 1, %3$L) over key - greatest(k."timestamp", %2$L))
      from (
        select b.account_address, b.asset_id, b."timestamp", b.balance, b.usd_value
          from strata.account_balances b where b."timestamp" >= %2$L and b."timestamp" < %3$L and b.asset_id = any (%4$L)
        union all
        (select distinct on (o.account_address, o.asset_id) o.account_address, o.asset_id, o."timestamp", o.balance, o.usd_value
           from (
             select b.account_address, b.asset_id, b."timestamp", b.balance, b.usd_value
               from strata.account_balances b where b."timestamp" >= %1$L and b."timestamp" < %2$L and b.asset_id = any (%4$L)
             union all
             select o.account_address, o.asset_id, o."timestamp", o.balance, null from strata.account_balances_opening o where o.asset_id = any (%4$L)
           ) o
          order by o.account_address, o.asset_id, o."timestamp" desc)
      ) k
    window key as (partition by k.account_address, k.asset_id order by k."timestamp")
  $steps$, (select s.opened_before from strata.balance_status s), from_time, to_time, assets);
end
$$;

comment on function strata.valued_steps(timestamptz, timestamptz, text) is
  'How long each account had which USD value in the assets of a standard within a span: the usd_value of its balance rows or, where they have none, their amount at the price known at their time; null where there is neither. What was brought into the span counts from its beginning.';
--! EndIncluded analytics/valued_steps.sql
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
as $$
#variable_conflict use_column
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
  state  record;
  upper  timestamptz := cut;
  lower  timestamptz;
begin
  select c.balance, c."timestamp" into state
    from strata.account_balances_current c where c.account_address = account and c.asset_id = asset;
  if (state."timestamp" is null or state."timestamp" < cut) and not strata.state_is_stale() then
    balance := state.balance;
    "timestamp" := state."timestamp";
    return;
  end if;
  -- The week of that time, then ever longer strides back: to plan for years of weeks costs more than to look into the few
  -- that are needed.
  if cut < opened then
    opened := '-infinity';
  end if;
  for stride in 0..12 loop
    lower := greatest(opened, case
      when stride < 12 and isfinite(upper) then strata.week_start(upper - interval '1 microsecond') - interval '7 days' * (2 ^ stride - 1)
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
  end loop;
  select o.balance, o."timestamp" into balance, "timestamp"
    from strata.account_balances_opening o where o.account_address = account and o.asset_id = asset and o."timestamp" < cut;
end
$$;

comment on function strata.last_balance(bytea, bigint, timestamptz) is
  'The last balance row of a key before an instant, or the opening that retention carried forward; nulls where there is none. From the state where that is early enough, else week by week backwards: the cost does not grow with the history.';
--! EndIncluded analytics/last_balance.sql
--! Included functions/balance_at.sql
create or replace function strata.balance_at(account bytea, asset bigint, instant timestamptz) returns numeric
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
-- A cluster's coordinator writes instants as its session does, and the workers read ISO.
set datestyle = 'ISO'
set plan_cache_mode = force_custom_plan
as $$
declare
  of_asset record;
  period   timestamptz;
  dropped  timestamptz;
  last     record;
  floor    timestamptz;
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
      -- Either the period's changes all came later, or the week that held them is gone; rarely asked, for it looks at every week.
      select min(p.lower_bound) into floor
        from strata.parts_of(case when of_asset.observed then 'strata.snapshot_rows'::regclass else 'strata.balance_changes'::regclass end) p;
      if floor is null or floor > period then
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
--! Included functions/share_gates.sql
create or replace function strata.share_gates(variadic sets text[]) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  one text;
begin
  if strata.topology() = 'citus' then
    -- One connection to each node for all of the transaction: fewer commits to prepare, and a new week, a new asset and rows fit in together.
    perform set_config('citus.multi_shard_modify_mode', 'sequential', true);
  end if;
  -- In one order, whatever order the caller names them in: two loaders and two swaps could wait for each other in a ring otherwise.
  foreach one in array (select array_agg(s order by s) from unnest(sets) s) loop
    perform pg_advisory_xact_lock_shared(strata.advisory_key('gate ' || one));
  end loop;
end
$$;

comment on function strata.share_gates(text[]) is
  'Says that this transaction is going to write to these sets. Call it before the first write: a swap of partitions waits for those who are in, and those who come wait for the swap, instead of being met with locks held.';
--! EndIncluded functions/share_gates.sql
--! Included functions/refuse_on_cluster.sql
create or replace function strata.refuse_on_cluster(what text, instead text) returns void
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if strata.topology() = 'citus' then
    raise exception '% makes no sense on a cluster, where the shards are the hash partitions', what
      using errcode = 'feature_not_supported', hint = instead || '.';
  end if;
end
$$;

comment on function strata.refuse_on_cluster(text, text) is
  'An error for what only one server can do, with what to do instead.';
--! EndIncluded functions/refuse_on_cluster.sql
--! Included functions/fold_week.sql
create or replace function strata.fold_week(week_start timestamptz) returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  folded bigint := 0;
  parts  int[];
  part   int;
begin
  perform strata.refuse_on_cluster('folding a week whole', 'fold_changes() and fold_pending() fold inside the shards: run pgstrata fold');
  perform strata.share_gates('account_balances');
  perform strata.lock_fold();
  perform strata.ensure_weeks('account_balances', week_start, week_start);
  select array_agg(l.remainder order by l.remainder) into parts
    from strata.week_leaves('account_balances', strata.week_start(week_start)) l;
  -- The week is locked from the first partition put in place: all are filled before.
  foreach part in array parts loop
    folded := folded + strata.fill_week_partition(week_start, part);
  end loop;
  foreach part in array parts loop
    perform strata.place_week_partition(week_start, part);
  end loop;
  return folded;
end
$$;

comment on function strata.fold_week(timestamptz) is
  'Folds a whole week of changes, of all sources, into balances that do not reach that week yet; returns the balance rows written. The bulk form of fold_deltas(): weeks in order give the same tables. None of these changes may have been folded before. To use several cores call fold_week_partition() for each hash partition on a connection of its own.';
--! EndIncluded functions/fold_week.sql
--! Included functions/fold_week_partition.sql
create or replace function strata.fold_week_partition(week_start timestamptz, remainder int) returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  folded bigint;
begin
  perform strata.refuse_on_cluster('folding a hash partition of a week', 'fold_changes() and fold_pending() fold inside the shards: run pgstrata fold');
  perform strata.share_gates('account_balances');
  folded := strata.fill_week_partition(week_start, remainder);
  perform strata.place_week_partition(week_start, remainder);
  return folded;
end
$$;

comment on function strata.fold_week_partition(timestamptz, int) is
  'fold_week() for one hash partition of the week, so that several connections can share the work; returns the balance rows written. The week must exist.';
--! EndIncluded functions/fold_week_partition.sql
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
  for part in select t.relid from pg_partition_tree(week) t order by t.level loop
    execute format('create or replace trigger strata_detached before insert or update or delete or truncate on %s for each statement execute function strata.refuse_detached()', part);
  end loop;
end
$$;

comment on function strata.guard_detached(regclass) is
  'Refuses further writes to a week that is taken out, and to its partitions: see refuse_detached().';
--! EndIncluded functions/guard_detached.sql
--! Included functions/table_bytes.sql
create or replace function strata.table_bytes() returns table (relation regclass, bytes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if strata.topology() = 'citus' then
    return query execute 'select s.table_name, sum(s.shard_size)::bigint from citus_shards s group by s.table_name';
  end if;
end
$$;

comment on function strata.table_bytes() is
  'Bytes of each table that lies on the nodes of a cluster, indexes and all; here it takes none. No rows on one server.';
--! EndIncluded functions/table_bytes.sql
--! Included functions/await_prepared.sql
create or replace function strata.await_prepared() returns boolean
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  tries constant int := 100;
  pending text[] := (select array_agg(x.gid) from pg_prepared_xacts x where x.database = current_database());
begin
  for try in 1 .. tries loop
    if not exists (select from pg_prepared_xacts x where x.gid = any (pending)) then
      return true;
    end if;
    perform pg_sleep(0.05);
  end loop;
  raise exception 'a transaction is prepared on this node and neither committed nor rolled back: %', pending[1]
    using errcode = 'serialization_failure', hint = 'Citus does it within a minute of a node''s return; at once by select recover_prepared_transactions() on the coordinator.';
end
$$;

comment on function strata.await_prepared() is
  'On a worker: waits for transactions that are between the two phases of their commit. What they wrote cannot be seen yet, and must be before anything is reckoned from it; after five seconds, when a node has died in between, that is an error.';
--! EndIncluded functions/await_prepared.sql
--! Included functions/await_shards.sql
create or replace function strata.await_shards() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if strata.topology() = 'citus' then
    perform bool_and(strata.await_prepared() and s.shard_id > 0) from strata.shards s;
  end if;
end
$$;

comment on function strata.await_shards() is
  'Waits until what was committed can be seen in every shard; see await_prepared(). Nothing to wait for on one server.';
--! EndIncluded functions/await_shards.sql
--! Included functions/take_back_snapshots.sql
create or replace function strata.take_back_snapshots(source_id smallint, from_block bigint, to_block bigint, min_time timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  taken bigint;
begin
  if min_time < (select greatest(s.observations_from, s.opened_before) from strata.balance_status s) then
    raise exception 'a reorg reaches back to snapshots of %, which, or whose balances, are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state', hint = 'Retain more weeks of snapshot_rows than reorgs are deep.';
  end if;
  perform strata.open_snapshots();
  perform strata.await_shards();
  -- The literal time prunes the weeks before the fork.
  execute format($take$
    with gone as (
      delete from strata.snapshot_rows r
       where r.source_id = %1$s and r.block_num >= %2$s and (%3$L is null or r.block_num <= %3$L) and r.observed_at >= %4$L
      returning r.account_address, r.asset_id, r.observed_at
    ), touched as (
      insert into pg_temp.snapshot_touched (account_address, asset_id, first, shrinks)
      select g.account_address, g.asset_id, strata.period_start(st.grain, min(g.observed_at)), true
        from gone g
        join strata.sources src on src.source_id = %1$s
        join strata.streams st on st.stream = src.stream
       group by g.account_address, g.asset_id, st.grain
    )
    select count(*) from gone
  $take$, source_id, from_block, to_block, coalesce(min_time, '-infinity')) into taken;
  return taken;
end
$$;

comment on function strata.take_back_snapshots(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s snapshots of blocks from_block to to_block (both inclusive; null is open) and notes whose balances that touches; the caller calls fold_snapshots() before it commits. None of them may be earlier than min_time. Returns the rows deleted.';
--! EndIncluded functions/take_back_snapshots.sql
--! Included functions/shard_functions.sql
create or replace function strata.shard_functions() returns text[]
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return array[
  'fold_deltas', 'fold_staged', 'fold_late_deltas', 'find_late_priors', 'fold_late_rows', 'drop_emptied_periods', 'drop_emptied_openings',
  'fold_late_state', 'state_is_lost', 'rebuild_state', 'rebuild_balances', 'recompute_balances', 'verify_rows', 'verify_state', 'verify_snapshots',
  'fold_snapshots', 'find_prior_snapshots', 'fold_snapshot_state', 'carry_forward_openings', 'put_back_openings',
  'account_keys', 'balance_rows', 'balance_movements', 'balance_steps', 'balances_at', 'balances_before', 'valued_steps',
  'last_balance', 'balance_at', 'state_is_stale', 'require_retained', 'require_asset', 'periods', 'scale_of'];

comment on function strata.shard_functions() is
  'Functions of which make_shard_functions() makes a copy for each shard. They name the distributed tables, assets, balance_status and each other with their schema, and ask strata.topology() where they are.';
--! EndIncluded functions/shard_functions.sql
--! Included functions/shard_stamp.sql
create or replace function strata.shard_stamp() returns text
language sql stable
set search_path = pg_catalog, strata, pg_temp
as $$
  select substr(md5(string_agg(pg_get_functiondef(p.oid), '' order by p.proname)), 1, 8)
    from pg_proc p where p.pronamespace = 'strata'::regnamespace and p.proname = any (strata.shard_functions() || array['make_shard_functions'])
$$;

comment on function strata.shard_stamp() is
  'Tells the texts of the functions that work in shards from those of another version.';
--! EndIncluded functions/shard_stamp.sql
--! Included functions/make_shard_functions.sql
create or replace function strata.make_shard_functions(shard bigint, stamp text) returns int
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  named  text := array_to_string(strata.shard_functions(), '|');
  made   int := 0;
  source record;
  place  record;
  body   text;
begin
  perform pg_advisory_xact_lock(hashtextextended('pgstrata functions of shard ' || shard, 0));
  perform set_config('citus.enable_ddl_propagation', 'off', true);
  for source in
    select p.oid, p.proname from pg_proc p where p.pronamespace = 'strata'::regnamespace and p.proname = any (strata.shard_functions())
  loop
    body := regexp_replace(pg_get_functiondef(source.oid), '\mstrata\.(' || named || ')\(', format('strata_shards.\1_%s_%s(', shard, stamp), 'g');
    body := regexp_replace(body, '\m(' || named || ')\.', format('\1_%s_%s.', shard, stamp), 'g');  -- a function's name qualifies its arguments
    body := replace(body, 'strata.topology()', '''shard''');
    for place in execute $place$
      select r.relname as name, shard_name(s.logicalrelid, s.shardid) as stored
        from pg_dist_shard own
        join pg_dist_partition o on o.logicalrelid = own.logicalrelid
        join pg_dist_partition d on d.colocationid = o.colocationid or d.partmethod = 'n'
        join pg_dist_shard s on s.logicalrelid = d.logicalrelid and (d.partmethod = 'n' or s.shardminvalue = own.shardminvalue)
        join pg_class r on r.oid = d.logicalrelid and r.relnamespace = 'strata'::regnamespace and not r.relispartition
       where own.shardid = $1
    $place$ using shard loop
      body := regexp_replace(body, format('\m(strata|pg_temp)\.%s\M', place.name), place.stored, 'g');
    end loop;
    execute body;
    made := made + 1;
  end loop;
  return made;
end
$$;

comment on function strata.make_shard_functions(bigint, text) is
  'On a worker: copies the functions of shard_functions() into strata_shards under names that end in the shard and the stamp, with every distributed and reference table replaced by its part in that shard. So one text folds a whole warehouse and a shard of it. Returns the functions made.';
--! EndIncluded functions/make_shard_functions.sql
--! Included functions/in_shard.sql
create or replace function strata.in_shard(shard bigint, stamp text, function text, arguments text[]) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
-- Costs that say "never" would have every statement compiled; a coordinator's sessions have it off, a worker's have not.
set jit = off
as $$
declare
  result bigint;
begin
  perform strata.await_prepared();
  if not exists (select from pg_proc p where p.pronamespace = 'strata_shards'::regnamespace and p.proname = format('%s_%s_%s', function, shard, stamp)) then
    perform strata.make_shard_functions(shard, stamp);
  end if;
  execute format('select strata_shards.%I(%s)', format('%s_%s_%s', function, shard, stamp),
                 (select string_agg(quote_nullable(a), ', ' order by place) from unnest(arguments) with ordinality u(a, place))) into result;
  return result;
end
$$;

comment on function strata.in_shard(bigint, text, text, text[]) is
  'On a worker: calls the copy of a function that works on this shard, and makes it first where the shard came here since; returns what it returns. See in_shards().';
--! EndIncluded functions/in_shard.sql
--! Included functions/in_shards.sql
create or replace function strata.in_shards(function text, variadic arguments text[] default '{}') returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  result bigint;
begin
  -- Citus prepares the transactions of connections that it knows to have written: this tells it so, of every shard.
  update strata.shards set calls = calls + 1;
  select sum(strata.in_shard(s.shard_id, s.stamp, in_shards.function, in_shards.arguments)) into result from strata.shards s;
  return result;
end
$$;

comment on function strata.in_shards(text, text[]) is
  'Calls a function of shard_functions() inside every shard at once, in the caller''s transaction, which commits in two phases; returns the sum of what they return. Arguments are literals as text.';
--! EndIncluded functions/in_shards.sql
--! Included functions/in_shard_rows.sql
create or replace function strata.in_shard_rows(shard bigint, stamp text, function text, arguments text[]) returns setof jsonb
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
-- Costs that say "never" would have every statement compiled; a coordinator's sessions have it off, a worker's have not.
set jit = off
as $$
begin
  return query execute format('select to_jsonb(r) from strata_shards.%I(%s) r', format('%s_%s_%s', function, shard, stamp),
    (select string_agg(quote_nullable(a), ', ' order by place) from unnest(arguments) with ordinality u(a, place)));
end
$$;

comment on function strata.in_shard_rows(bigint, text, text, text[]) is
  'in_shard() for a function that returns rows and writes nothing: each as JSON, whose numbers are exact.';
--! EndIncluded functions/in_shard_rows.sql
--! Included functions/in_shards_rows.sql
create or replace function strata.in_shards_rows(function text, variadic arguments text[] default '{}') returns setof jsonb
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return query select strata.in_shard_rows(s.shard_id, s.stamp, in_shards_rows.function, in_shards_rows.arguments) from strata.shards s;
end
$$;

comment on function strata.in_shards_rows(text, text[]) is
  'in_shards() for a function that returns rows and writes nothing.';
--! EndIncluded functions/in_shards_rows.sql
--! Included functions/prepare_nodes.sql
create or replace function strata.prepare_nodes() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  failed  text;
  routine regprocedure;
begin
  -- Roles are of a node and not of a database: another warehouse of the cluster may have made them.
  select string_agg(r.result, '; ') into failed from run_command_on_workers($node$
    do 'declare r text; begin
      perform set_config(''citus.enable_ddl_propagation'', ''off'', true);
      foreach r in array array[''strata_reader'', ''strata_loader'', ''strata_maintainer''] loop
        if not exists (select from pg_roles where rolname = r) then
          begin
            execute format(''create role %I nologin'', r);
          exception when duplicate_object or unique_violation then null;
          end;
        end if;
      end loop;
    end'
  $node$) r where not r.success;
  if failed is not null then
    raise exception 'the roles of the warehouse cannot be made on the workers: %', failed;
  end if;
  create schema if not exists strata_shards;
  comment on schema strata_shards is 'Functions that work inside one shard, made on the workers; see strata.make_shard_functions()';
  for routine in
    select p.oid from pg_proc p
     where p.pronamespace = 'strata'::regnamespace
       and p.proname = any (strata.shard_functions() || array['shard_functions', 'make_shard_functions', 'in_shard', 'in_shard_rows', 'await_prepared', 'parts_of', 'partition_bounds',
                                                             'sample_predicate', 'period_expression', 'ratio', 'period_start', 'week_start', 'account', 'account_text'])
  loop
    perform create_distributed_function(routine);
  end loop;
end
$$;

comment on function strata.prepare_nodes() is
  'Gives every node of the cluster the roles of the warehouse and the functions that queries and folds call there; nodes that are added later get the functions from Citus.';
--! EndIncluded functions/prepare_nodes.sql
--! Included functions/flatten_for_shards.sql
create or replace function strata.flatten_for_shards() returns int
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  place   record;
  leaf    regclass;
  changed int := 0;
begin
  perform set_config('citus.enable_ddl_propagation', 'off', true);
  for place in
    select s.set_name, s.parent, w.partition, w.lower_bound, w.upper_bound, c.relname
      from strata.partition_sets s cross join lateral strata.parts_of(s.parent) w join pg_class c on c.oid = w.partition
     where s.set_name in ('balance_changes', 'account_balances', 'snapshot_rows') and c.relkind = 'p'
  loop
    execute format('alter table %s detach partition %s', place.parent, place.partition);
    execute format('alter table %s rename to %I', place.partition, place.relname || '_was');
    execute format('create table strata.%I (like %s including all)', place.relname, place.partition);
    execute format('insert into strata.%I select * from %s', place.relname, place.partition);
    execute format('drop table %s', place.partition);
    execute format('alter table %s attach partition strata.%I for values from (%L) to (%L)', place.parent, place.relname, place.lower_bound, place.upper_bound);
    changed := changed + 1;
  end loop;
  -- The state keeps its parent, on which views and functions rest, with one partition for all accounts of a shard.
  for place in select p.oid as parent, p.relname from pg_class p where p.oid in ('strata.account_balances_current'::regclass, 'strata.account_balances_opening'::regclass) loop
    execute format('create temp table moved_state on commit drop as select * from %s', place.parent::regclass);
    for leaf in select i.inhrelid from pg_inherits i where i.inhparent = place.parent loop
      execute format('drop table %s', leaf);
    end loop;
    execute format('create table strata.%I partition of %s for values with (modulus 1, remainder 0)%s', place.relname || '_whole', place.parent::regclass,
                   case place.relname when 'account_balances_current' then ' with (fillfactor = 70)' end);
    execute format('insert into %s select * from moved_state', place.parent::regclass);
    drop table moved_state;
  end loop;
  alter table strata.held_deltas drop constraint if exists held_deltas_retention_id_fkey;
  perform set_config('citus.enable_ddl_propagation', 'on', true);
  return changed;
end
$$;

comment on function strata.flatten_for_shards() is
  'The part of distribute() that takes the hash partitions out, because Citus distributes tables of one level of partitions, and shards take their place. Returns the weeks that were made anew.';
--! EndIncluded functions/flatten_for_shards.sql
--! Included functions/open_shard_stages.sql
create or replace function strata.open_shard_stages() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  stage text;
  kind  record;
begin
  perform strata.open_deltas();
  perform strata.open_snapshots();
  -- The same tables as a session has for itself, for all: used under the lock of the fold, and empty at each commit.
  foreach stage in array array['balance_deltas', 'late_deltas', 'late_periods', 'snapshot_touched', 'snapshot_keys', 'snapshot_periods'] loop
    execute format('create unlogged table strata.%1$I (like pg_temp.%1$I including all)', stage);
    perform create_distributed_table(format('strata.%I', stage)::regclass, 'account_address', colocate_with => 'strata.balance_changes');
    execute format('comment on table strata.%I is %L', stage, 'Stage of the fold inside the shards: see strata.open_deltas() and strata.open_snapshots()');
    execute format('grant select, insert, update, delete, truncate on strata.%I to strata_loader, strata_maintainer', stage);
  end loop;
end
$$;

comment on function strata.open_shard_stages() is
  'The part of distribute() that makes the staging tables of the fold as co-located tables: 2PC forbids temporary ones on the workers.';
--! EndIncluded functions/open_shard_stages.sql
--! Included functions/list_shards.sql
create or replace function strata.list_shards() returns int
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  listed int;
begin
  create table strata.shards (
    account_address bytea primary key,
    shard_id        bigint not null,
    stamp           text not null default '',
    calls           bigint not null default 0
  ) with (fillfactor = 50);
  comment on table strata.shards is 'One row in each shard, which says which one it is: what is called for every row is called in every shard';
  comment on column strata.shards.account_address is 'Bytes that fall into this shard';
  comment on column strata.shards.stamp is 'Version of the functions that work in it: see strata.shard_stamp()';
  comment on column strata.shards.calls is 'Calls that may have written; raising it makes Citus commit the shard in two phases';
  perform create_distributed_table('strata.shards', 'account_address', colocate_with => 'strata.balance_changes');
  grant select, update on strata.shards to strata_loader, strata_maintainer;
  grant select on strata.shards to strata_reader;
  grant usage on schema strata_shards to strata_reader, strata_loader, strata_maintainer;

  -- Bytes are drawn until every shard has some: for 1024 shards that takes some ten thousand.
  for drawn in 0 .. 200 loop
    insert into strata.shards (account_address, shard_id)
    select distinct on (k.shard_id) k.account_address, k.shard_id
      from (select int4send(i) as account_address, get_shard_id_for_distribution_column('strata.shards', int4send(i)) as shard_id
              from generate_series(drawn * 1000, drawn * 1000 + 999) i) k
     where k.shard_id not in (select s.shard_id from strata.shards s)
     order by k.shard_id, k.account_address;
    select count(*) into listed from strata.shards;
    exit when listed = (select count(*) from pg_dist_shard d where d.logicalrelid = 'strata.shards'::regclass);
  end loop;
  return listed;
end
$$;

comment on function strata.list_shards() is
  'The part of distribute() that makes the table of shards.';
--! EndIncluded functions/list_shards.sql
--! Included analytics/partitions_touched.sql
create or replace function strata.partitions_touched()
returns table (relation text, week timestamptz, kind text, touched int, partitions int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
-- As text: what depends on a distributed table must not depend on one that is not.
as $$
  -- Not by pg_partition_tree(): that takes the very locks we look for.
  with roots as (
    select p.oid as parent, p.relname::text as relation, w.partition, w.lower_bound
      from pg_class p
      join strata.partition_sets s on s.parent = p.oid
     cross join lateral strata.set_partitions(s.set_name) w
     where p.oid in ('strata.balance_changes'::regclass, 'strata.account_balances'::regclass, 'strata.snapshot_rows'::regclass)
    union all
    select p.oid, p.relname::text, p.oid, null
      from pg_class p where p.oid in ('strata.account_balances_current'::regclass, 'strata.account_balances_opening'::regclass)
  ), leaves as (
    select r.relation, r.lower_bound, coalesce(i.inhrelid, r.partition::oid) as leaf,
           case when i.inhrelid is null or c.relname like '%\_consolidated' then 'consolidated' else 'hashed' end as kind
      from roots r
      left join pg_inherits i on i.inhparent = r.partition
      left join pg_class c on c.oid = i.inhrelid
  )
  select l.relation, l.lower_bound, min(l.kind),
         count(*) filter (where exists (
           select from pg_locks k
            where k.pid = pg_backend_pid() and k.locktype = 'relation' and k.relation = l.leaf
              and k.database = (select d.oid from pg_database d where d.datname = current_database())))::int,
         count(*)::int
    from leaves l
   group by l.relation, l.lower_bound
   order by l.relation, l.lower_bound
$$;

comment on function strata.partitions_touched() is
  'What the running transaction has opened of balances, changes, snapshots (a row for each week), of state and of openings: how many of how many leaves. Read from the locks it holds, so it tells of every statement inside every function; what pruning left out was never locked.';
--! EndIncluded analytics/partitions_touched.sql

create table strata.backfill_weeks (
  week_start   timestamptz primary key check (week_start = strata.week_start(week_start)),
  state        text not null default 'building' check (state in ('building', 'keyed', 'attached')),
  changes      regclass,
  first_blocks jsonb not null default '{}',
  row_count    bigint,
  balance_rows bigint,
  folded       text check (folded in ('whole', 'late', 'no')),
  error        text,
  opened_at    timestamptz not null default clock_timestamp(),
  keyed_at     timestamptz,
  attached_at  timestamptz,
  check ((state = 'attached') = (attached_at is not null)),
  check ((state = 'attached') = (changes is null))
);
create index backfill_weeks_apart on strata.backfill_weeks (week_start) where state <> 'attached';
comment on table strata.backfill_weeks is 'Journal of weeks of balance_changes that are loaded beside the set, without indexes, and attached whole: one row per week. A loader holds its row FOR SHARE while it writes to the week, who moves the week on holds it FOR UPDATE';
comment on column strata.backfill_weeks.state is 'building: takes rows, has no keys; keyed: has keys and waits for the weeks before it; attached: part of the set, with its balances';
comment on column strata.backfill_weeks.changes is 'The week''s table, until it is attached';
comment on column strata.backfill_weeks.first_blocks is 'When it got its keys: the first block of each source in it, by source_id. A fold that follows the load stops before it';
comment on column strata.backfill_weeks.folded is 'How its balances came to be: whole, by the bulk fold; late, with what was folded before it; no, they wait for pgstrata fold';
comment on column strata.backfill_weeks.error is 'Why the last try to key or attach it failed; null when the next one went well';

create table strata.week_gate (only_row boolean primary key default true check (only_row));
comment on table strata.week_gate is 'Empty: who must not meet a week attached in the middle of a snapshot locks it ACCESS SHARE before the snapshot is taken, as verify does; who attaches one locks it ACCESS EXCLUSIVE. A snapshot would see the rows of the week, which are older, and not its balances';

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
--! Included functions/attach_week.sql
create or replace function strata.attach_week(set_name text, lower_bound timestamptz, week regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
begin
  execute format('alter table %s attach partition %s for values from (%L) to (%L)',
    (select s.parent from strata.partition_sets s where s.set_name = attach_week.set_name), week, lower_bound, lower_bound + interval '168 hours');
end
$$;

comment on function strata.attach_week(text, timestamptz, regclass) is
  'Makes a week that build_week() has made a part of its set. The root gets SHARE UPDATE EXCLUSIVE and nothing is scanned, where the week has the indexes of the set.';
--! EndIncluded functions/attach_week.sql
--! Included functions/missing_weeks.sql
create or replace function strata.missing_weeks(set_name text, first_week timestamptz, last_week timestamptz) returns timestamptz[]
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select coalesce(array_agg(week order by week), '{}')
    from generate_series(first_week, last_week, interval '168 hours') week
   where not exists (
     select from strata.set_partitions(missing_weeks.set_name) p
      where p.lower_bound < week + interval '168 hours' and p.upper_bound > week)
     and not exists (
     select from strata.backfill_weeks w
      where missing_weeks.set_name = 'balance_changes' and w.week_start = week and w.state <> 'attached')
     and not exists (
     select from strata.partition_sets s
      where s.set_name = missing_weeks.set_name and week + interval '168 hours' <= s.retained_from);
end;

comment on function strata.missing_weeks(text, timestamptz, timestamptz) is
  'The weeks of a managed set in [first_week, last_week] that no attached partition covers, without those that are being loaded beside the set and those that retention has dropped. Volatile: it must see what others committed while we waited for the lock.';
--! EndIncluded functions/missing_weeks.sql
--! Included functions/find_missing_weeks.sql
create or replace function strata.find_missing_weeks(set_name text)
returns table (week_key text, week_start timestamptz, week_end timestamptz, status text, advice text)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set intervalstyle = 'postgres'
as $$
#variable_conflict use_column
declare
  s         strata.partition_sets := strata.require_set(find_missing_weeks.set_name);
  first     timestamptz;
  last      timestamptz;
  elsewhere text;
begin
  select min(p.lower_bound) filter (where isfinite(p.lower_bound)), max(p.upper_bound) filter (where isfinite(p.upper_bound))
    into first, last from strata.set_partitions(s.set_name) p;
  first := strata.week_start(least(first, now()));
  last := greatest(last, now() + s.premake * interval '168 hours');
  select format('; the rows of it that lie in the DEFAULT partition %s must be moved out first', string_agg(i.partition_name, ', ')) into elsewhere
    from strata.week_info(s.set_name) i where i.kind = 'default' having count(*) > 0;
  return query
    select strata.week_key(g.week), g.week, g.week + interval '168 hours',
           case when c.covered is null then 'MISSING' else 'PARTLY COVERED' end,
           case when c.covered is null
             then format('select * from strata.ensure_weeks(%L, %L, %L)', s.set_name, g.week, g.week) || coalesce(elsewhere, '')
             else format('%s covers %s of it: no week fits beside; move its rows, detach it, then call strata.ensure_weeks()', c.names, c.covered) end
      from generate_series(first, last, interval '168 hours') g(week)
     cross join lateral (
       select sum(least(p.upper_bound, g.week + interval '168 hours') - greatest(p.lower_bound, g.week)) as covered,
              string_agg(p.partition::text, ', ') as names
         from strata.set_partitions(s.set_name) p
        where p.lower_bound < g.week + interval '168 hours' and p.upper_bound > g.week
     ) c
     where not exists (select from strata.backfill_weeks b where s.set_name = 'balance_changes' and b.week_start = g.week and b.state <> 'attached')
       and g.week < last and coalesce(c.covered, interval '0') < interval '168 hours'
     order by g.week;
end
$$;

comment on function strata.find_missing_weeks(text) is
  'Weeks without a partition between the first one of a set and the last, or the last that should be created ahead by now; with the statement that creates it, or what is in the way.';
--! EndIncluded functions/find_missing_weeks.sql
--! Included functions/weeks_apart.sql
create or replace function strata.weeks_apart(weeks timestamptz[]) returns table (week_start timestamptz, changes text)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select w.week_start, format('%I.%I', n.nspname, c.relname)
    from strata.backfill_weeks w
    join pg_class c on c.oid = w.changes
    join pg_namespace n on n.oid = c.relnamespace
   where w.week_start = any (weeks_apart.weeks) and w.state <> 'attached'
   order by w.week_start
     for share of w;
end;

comment on function strata.weeks_apart(timestamptz[]) is
  'Those of the weeks whose rows go to a table beside balance_changes, with its name; they stay there until this transaction ends. All others are partitions.';
--! EndIncluded functions/weeks_apart.sql
--! Included functions/open_backfill_weeks.sql
create or replace function strata.open_backfill_weeks(weeks timestamptz[], present timestamptz, most int) returns setof timestamptz
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
declare
  wanted   timestamptz[];
  week     timestamptz;
  changes  regclass;
  leaf     regclass;
  privilege record;
  retained timestamptz;
  folded   timestamptz;
begin
  -- On a cluster weeks are cut by shards, and folded inside them.
  if strata.topology() <> 'single' then
    return;
  end if;
  -- Callers that need the same weeks wait here, and makers of ordinary weeks with them.
  perform pg_advisory_xact_lock(hashtextextended('pgstrata balance_changes', 0));
  -- Retention holds this row while it looks for weeks that are not attached yet.
  select s.retained_from into retained from strata.partition_sets s where s.set_name = 'balance_changes' for share;
  -- The newest time that balances may have: a week in front of it can no longer be folded whole.
  select max(b.max_time) into folded
    from strata.stream_batches b
    join strata.fold_progress p on p.source_id = b.source_id and b.start_block <= p.folded_block;
  wanted := strata.missing_weeks('balance_changes', strata.week_start((select min(w) from unnest(weeks) w)), strata.week_start((select max(w) from unnest(weeks) w)));
  for week in
    select distinct strata.week_start(w) from unnest(weeks) w
     where strata.week_start(w) = any (wanted) and strata.week_start(w) + interval '168 hours' <= least(present, 'infinity')
       and (folded is null or folded < strata.week_start(w))
       and to_regclass(format('strata.%I', strata.week_name('balance_changes', w))) is null
     order by 1
     limit greatest(0, most - (select count(*) from strata.backfill_weeks b where b.state <> 'attached'))
  loop
    changes := strata.build_week('balance_changes', week, false);
    for leaf in select i.inhrelid::regclass from pg_inherits i where i.inhparent = changes loop
      -- What is inserted now is vacuumed once, when it has its keys.
      execute format('alter table %s set (autovacuum_enabled = off)', leaf);
    end loop;
    -- Loaders write to the week by its own name as long as it stands beside the set.
    for privilege in
      select x.privilege_type, x.grantee from strata.partition_sets s join pg_class c on c.oid = s.parent cross join lateral aclexplode(c.relacl) x
       where s.set_name = 'balance_changes' and x.grantee <> c.relowner and x.privilege_type in ('SELECT', 'INSERT', 'DELETE')
    loop
      execute format('grant %s on %s to %s', privilege.privilege_type, changes, strata.role_text(privilege.grantee));
    end loop;
    insert into strata.backfill_weeks (week_start, changes) values (week, changes)
    on conflict on constraint backfill_weeks_pkey do update
      set state = 'building', changes = excluded.changes, first_blocks = '{}', row_count = null, balance_rows = null, folded = null, error = null,
          opened_at = clock_timestamp(), keyed_at = null, attached_at = null;
  end loop;
  return query
    select b.week_start from strata.backfill_weeks b
     where b.state <> 'attached' and b.week_start in (select strata.week_start(w) from unnest(weeks) w) order by 1;
end
$$;

comment on function strata.open_backfill_weeks(timestamptz[], timestamptz, int) is
  'Makes tables beside balance_changes, without indexes, for those of the weeks that have no partition yet, end before the present, and lie behind all that is folded, as long as no more than so many stand open; returns which of the weeks stand beside the set now. All others are for ensure_weeks(). Security definer, so that a loader needs no right to create tables.';
--! EndIncluded functions/open_backfill_weeks.sql
--! Included functions/complete_backfill_weeks.sql
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
--! EndIncluded functions/complete_backfill_weeks.sql
--! Included functions/key_backfill_leaf.sql
create or replace function strata.key_backfill_leaf(week_start timestamptz, leaf int) returns text
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set maintenance_work_mem = '256MB'
as $$
declare
  own regclass;
begin
  select i.inhrelid::regclass into own
    from strata.backfill_weeks w
    join pg_inherits i on i.inhparent = w.changes
   where w.week_start = key_backfill_leaf.week_start and w.state = 'building'
   order by i.inhrelid offset leaf limit 1;
  if own is not null then
    execute format('lock table %s in access exclusive mode', own);
    if not exists (select from pg_index i where i.indrelid = own) then
      perform strata.build_indexes_like('strata.balance_changes', own);
    end if;
  end if;
  return own::text;
end
$$;

comment on function strata.key_backfill_leaf(timestamptz, int) is
  'Builds keys and indexes of one hash partition (0 is the first) of a week that stands beside balance_changes, so that several connections can share a week; nothing to do the second time. Returns the partition, null when the week has all its keys.';
--! EndIncluded functions/key_backfill_leaf.sql
--! Included functions/key_backfill_week.sql
create or replace function strata.key_backfill_week(week_start timestamptz) returns void
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set maintenance_work_mem = '256MB'
as $$
declare
  w      strata.backfill_weeks;
  leaf   regclass;
  blocks jsonb;
begin
  select * into w from strata.backfill_weeks b where b.week_start = key_backfill_week.week_start for update;
  if w.state is distinct from 'building' then
    return;
  end if;
  if not exists (select from pg_index i where i.indrelid = w.changes) then
    -- The week takes the indexes of its partitions as its own, and builds those that are missing.
    perform strata.build_indexes_like('strata.balance_changes', w.changes);
  end if;
  for leaf in select i.inhrelid::regclass from pg_inherits i where i.inhparent = w.changes loop
    execute format('alter table %s reset (autovacuum_enabled)', leaf);
  end loop;
  execute format('select jsonb_object_agg(c.source_id, c.first) from (select source_id, min(block_num) as first from %s group by 1) c', w.changes) into blocks;
  update strata.backfill_weeks b set state = 'keyed', first_blocks = coalesce(blocks, '{}'), keyed_at = clock_timestamp(), error = null
   where b.week_start = w.week_start;
end
$$;

comment on function strata.key_backfill_week(timestamptz) is
  'Gives a week that stands beside balance_changes the keys of its partitions (see key_backfill_leaf(); missing ones are built here). From here on it could be attached.';
--! EndIncluded functions/key_backfill_week.sql
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
begin
  create temp table if not exists backfill_sources (source_id smallint, last_block bigint, change_rows bigint) on commit delete rows;
  execute format('insert into pg_temp.backfill_sources select c.source_id, max(c.block_num), count(*) from %s c group by 1', week);
  select coalesce(sum(s.change_rows), 0) into change_rows from pg_temp.backfill_sources s;

  -- The watermark of each source goes to its last block in the week: nothing of the set in front of that may wait to be folded.
  for sources in
    select s.source_id, s.last_block, p.folded_block, t.earliest, t.latest
      from pg_temp.backfill_sources s
     cross join lateral (
       select coalesce((select min(f.folded_block) from strata.fold_progress f where f.source_id = s.source_id having count(*) = 4), -1) as folded_block
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
       and satisfies_hash_partition('strata.account_balances_current'::regclass, 4, p.hash_partition, c.account_address)
     group by 1, 2, 3
  $late$, week);
  balance_rows := strata.fold_deltas();
  folded := case when whole then 'late' else 'no' end;
end
$$;

comment on function strata.fold_backfill_week(timestamptz, regclass, boolean) is
  'Folds a week that was just attached: whole, where that is wanted and everything before it is folded and nothing behind it; else what lies in front of the watermark of its source, and the rest is left to fold_pending(). Until a week is attached none of its rows is folded, whatever the watermark says.';
--! EndIncluded functions/fold_backfill_week.sql
--! Included functions/attach_backfill_week.sql
create or replace function strata.attach_backfill_week(week_start timestamptz, fold boolean, out folded text, out rows bigint, out balance_rows bigint)
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  w         strata.backfill_weeks;
  privilege record;
begin
  -- Before any other lock: a verify may take its time.
  lock table strata.week_gate in access exclusive mode;
  perform strata.share_gates('account_balances', 'balance_changes');
  -- In this order, as loaders do: the week, then the fold. Whoever still writes to the week is waited for here.
  select * into w from strata.backfill_weeks b where b.week_start = attach_backfill_week.week_start for update;
  if w.state is distinct from 'keyed' then
    return;
  end if;
  perform strata.lock_fold();
  for privilege in
    select x.grantee from pg_class c cross join lateral aclexplode(c.relacl) x where c.oid = w.changes and x.grantee <> c.relowner group by 1
  loop
    execute format('revoke select, insert, delete on %s from %s', w.changes, strata.role_text(privilege.grantee));
  end loop;
  perform strata.attach_week('balance_changes', w.week_start, w.changes);
  perform strata.ensure_weeks('account_balances', w.week_start, w.week_start);
  select f.folded, f.balance_rows, f.change_rows into folded, balance_rows, rows from strata.fold_backfill_week(w.week_start, w.changes, fold) f;
  update strata.backfill_weeks b
     set state = 'attached', changes = null, row_count = rows, balance_rows = attach_backfill_week.balance_rows, folded = attach_backfill_week.folded,
         error = null, attached_at = clock_timestamp()
   where b.week_start = w.week_start;
end
$$;

comment on function strata.attach_backfill_week(timestamptz, boolean) is
  'Makes a week that has its keys a part of balance_changes, folds it (unless told not to), and makes its balances a part of account_balances, in one transaction: readers see the week whole or not at all. Nulls when the week is not there to be attached. The roots are locked SHARE UPDATE EXCLUSIVE, which readers and writers do not meet.';
--! EndIncluded functions/attach_backfill_week.sql
--! Included functions/note_backfill_error.sql
create or replace function strata.note_backfill_error(week_start timestamptz, error text) returns void
language sql security definer
set search_path = pg_catalog, strata, pg_temp
begin atomic
  update strata.backfill_weeks w set error = note_backfill_error.error
   where w.week_start = note_backfill_error.week_start and w.state <> 'attached';
end;

comment on function strata.note_backfill_error(timestamptz, text) is
  'Writes down why a week could not be keyed or attached.';
--! EndIncluded functions/note_backfill_error.sql
--! Included functions/next_fold.sql
create or replace function strata.next_fold(
  source_id smallint, hash_partition int, rows_max bigint, across_gaps boolean, out from_block bigint, out to_block bigint, out row_count bigint
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  with done as (
    select coalesce(
      (select p.folded_block from strata.fold_progress p
        where p.source_id = next_fold.source_id and p.hash_partition = next_fold.hash_partition),
      (select min(b.start_block) - 1 from strata.stream_batches b where b.source_id = next_fold.source_id)) as block
  ), waiting as (
    -- The fold of a whole week leaves the watermark inside a range.
    select greatest(b.start_block, done.block + 1) as start_block, b.end_block, b.row_count, b.max_time,
           b.start_block <= coalesce(lag(b.end_block) over (order by b.start_block), done.block) + 1 as adjacent,
           sum(b.row_count) over (order by b.start_block) - b.row_count as rows_before
      from strata.stream_batches b, done
     where b.source_id = next_fold.source_id and b.end_block > done.block
  ), apart as (
    -- Weeks beside the set are folded whole, if nothing behind them is folded before.
    select min(coalesce((w.first_blocks ->> next_fold.source_id::text)::bigint,
                        (select min(r.start_block) from waiting r where r.max_time >= w.week_start))) as block
      from strata.backfill_weeks w where w.state <> 'attached' and not across_gaps
  ), unbroken as (
    select w.*, bool_and(w.adjacent) over (order by w.start_block) as whole from waiting w
  )
  select min(u.start_block), max(least(u.end_block, a.block - 1)), sum(u.row_count)::bigint
    from unbroken u, apart a where (u.whole or across_gaps) and u.rows_before < rows_max and (a.block is null or u.start_block < a.block);
end;

comment on function strata.next_fold(smallint, int, bigint, boolean) is
  'The next blocks of a source to fold for a hash partition of the state: behind what is folded, up to the first gap of the ledger (or across gaps: what fills one later is folded with its commit), about rows_max changes. In block order it stops before the weeks that stand beside the set. Nulls when nothing waits.';
--! EndIncluded functions/next_fold.sql
--! Included functions/waiting_since.sql
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
--! EndIncluded functions/waiting_since.sql
--! Included functions/state_is_lost.sql
create or replace function strata.state_is_lost() returns boolean
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  -- Step by step: a statement that names account_balances locks every week, and each fold comes through here.
  if exists (select from strata.account_balances_current) then
    return false;
  end if;
  if exists (select from strata.account_balances_opening) then
    return true;
  end if;
  if not exists (
    with recursive part as (
      select i.inhrelid from pg_inherits i where i.inhparent = 'strata.account_balances'::regclass
      union all
      select i.inhrelid from pg_inherits i join part on part.inhrelid = i.inhparent
    ), leaves as materialized (
      -- Apart from the question: asked of each table there is, it would lock them all for a moment.
      select c.oid from part join pg_class c on c.oid = part.inhrelid and c.relkind = 'r'
    )
    select from leaves where pg_relation_size(leaves.oid) > 0
  ) then
    return false;
  end if;
  return exists (select from strata.account_balances);
end
$$;

comment on function strata.state_is_lost() is
  'Whether account_balances_current is empty beside balances: truncated, or not restored.';
--! EndIncluded functions/state_is_lost.sql
--! Included functions/verify_ledger.sql
create or replace function strata.verify_ledger()
returns table (source_id smallint, ledger_rows bigint, stored_rows bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  since    timestamptz;
  observed timestamptz;
begin
  select s.changes_from, s.observations_from into since, observed from strata.balance_status s;
  return query execute format($verify$
    with ledger as (
      select b.source_id, sum(b.row_count)::bigint as total
        from strata.stream_batches b
        join strata.sources src on src.source_id = b.source_id
        join strata.streams st on st.stream = src.stream and st.load in ('transfers', 'snapshots')
       where b.min_time >= case st.load when 'transfers' then timestamptz %1$L else %2$L end group by b.source_id
    ), straddling as materialized (
      -- Of these a part is gone: what is left of them cannot be counted against the ledger.
      select b.source_id, b.start_block, b.end_block, b.min_time, b.max_time
        from strata.stream_batches b where b.min_time < greatest(timestamptz %1$L, timestamptz %2$L)
    ), present as (
      select c.source_id, count(*) as total from strata.balance_changes c where c.block_time >= %1$L group by c.source_id
      %3$s
      union all
      select s.source_id, -count(*) from straddling s join strata.balance_changes c
          on c.source_id = s.source_id and c.block_num between s.start_block and s.end_block
         and c.block_time >= %1$L and c.block_time <= s.max_time
       where s.min_time < %1$L and s.max_time >= %1$L group by s.source_id
      union all
      select r.source_id, count(*) from strata.snapshot_rows r where r.observed_at >= %2$L group by r.source_id
      union all
      select s.source_id, -count(*) from straddling s join strata.snapshot_rows r
          on r.source_id = s.source_id and r.block_num between s.start_block and s.end_block
         and r.observed_at >= %2$L and r.observed_at <= s.max_time
       where s.min_time < %2$L and s.max_time >= %2$L group by s.source_id
    ), stored as (
      select p.source_id, sum(p.total)::bigint as total from present p group by p.source_id
    )
    select coalesce(l.source_id, s.source_id), coalesce(l.total, 0), coalesce(s.total, 0)
      from ledger l full join stored s on s.source_id = l.source_id
     where coalesce(l.total, 0) <> coalesce(s.total, 0)
  $verify$, since, observed,
    (select string_agg(format('union all select c.source_id, count(*) from %s c group by c.source_id', w.changes), ' ')
       from strata.backfill_weeks w where w.state <> 'attached'));
end
$$;

comment on function strata.verify_ledger() is
  'Sources whose ledger counts other balance changes or snapshots than are stored. Where weeks of them were dropped, only batches wholly behind them are counted; weeks that are loaded beside the set count with it.';
--! EndIncluded functions/verify_ledger.sql

--! Included functions/week_info.sql
create or replace function strata.week_info(set_name text)
returns table (
  partition regclass, partition_name text, lower_bound timestamptz, upper_bound timestamptz, kind text, leaves int,
  row_estimate bigint, heap_bytes bigint, index_bytes bigint, total_bytes bigint, pages bigint, visible_pages bigint, detach_pending boolean
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select c.oid::regclass, c.relname::text, b.lower_bound, b.upper_bound,
         case
           when c.relkind = 'f' then 'foreign'
           when b.is_default then 'default'
           when b.lower_bound is distinct from strata.week_start(b.lower_bound)
             or b.upper_bound is distinct from b.lower_bound + interval '168 hours' then 'odd'
           when c.relkind = 'r' and strata.is_distributed(c.oid) then case when a.amname = 'columnar' then 'columnar' else 'sharded' end
           when c.relkind = 'r' then 'consolidated'
           when exists (select from pg_inherits leaf join pg_class l on l.oid = leaf.inhrelid
                         where leaf.inhparent = c.oid and l.relname = c.relname || '_consolidated') then 'consolidated'
           when (select p.partstrat from pg_partitioned_table p where p.partrelid = c.oid) = 'h' then 'hash'
           when (select p.partstrat from pg_partitioned_table p where p.partrelid = c.oid) = 'l' then 'list'
           else 'odd'
         end,
         (select count(*)::int from pg_inherits leaf where leaf.inhparent = c.oid),
         size.row_estimate, size.heap_bytes, size.index_bytes, size.heap_bytes + size.index_bytes, size.pages, size.visible_pages,
         i.inhdetachpending
    from strata.partition_sets s
    join pg_inherits i on i.inhparent = s.parent
    join pg_class c on c.oid = i.inhrelid
    left join pg_am a on a.oid = c.relam
    cross join lateral strata.partition_bounds(c.oid) b
    cross join lateral (
      select case when min(leaf.reltuples) >= 0 then sum(leaf.reltuples)::bigint end as row_estimate,
             coalesce(sum(pg_table_size(leaf.oid)), 0)::bigint as heap_bytes,
             coalesce(sum(pg_indexes_size(leaf.oid)), 0)::bigint as index_bytes,
             coalesce(sum(leaf.relpages), 0)::bigint as pages,
             coalesce(sum(leaf.relallvisible), 0)::bigint as visible_pages
        from pg_partition_tree(c.oid) t join pg_class leaf on leaf.oid = t.relid
       where t.isleaf and leaf.relkind = 'r'
    ) size
   where s.set_name = week_info.set_name
   order by b.lower_bound nulls last, c.relname;
end;

comment on function strata.week_info(text) is
  'Every partition of a managed set with its real bounds, kind, sizes in bytes and freshness. kind: hash or list (a week with leaves), sharded (its hash partitions are the shards of a cluster), columnar (sharded and stored by column), consolidated (one table, or a week whose only leaf is that; see flatten_weeks), odd (not one whole week), default, foreign. row_estimate is null until the leaves were analyzed; pages and visible_pages are those of the last VACUUM or ANALYZE.';
--! EndIncluded functions/week_info.sql
--! Included functions/old_weeks.sql
create or replace function strata.old_weeks(set_name text, months int)
returns table (
  partition regclass, week_key text, lower_bound timestamptz, upper_bound timestamptz, kind text, leaves int, row_estimate bigint,
  total_bytes bigint, refusal text
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
  perform strata.require_set(old_weeks.set_name);
  perform strata.require_months(old_weeks.months);
  return query
    select w.partition, coalesce(strata.week_key(w.lower_bound), w.partition_name), w.lower_bound, w.upper_bound, w.kind, w.leaves, w.row_estimate,
           w.total_bytes, (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(old_weeks.set_name, w.partition) o where o.concerns = 'week' limit 1)
      from strata.week_info(old_weeks.set_name) w
     where w.kind not in ('consolidated', 'sharded', 'columnar')
       and (w.upper_bound is null or w.upper_bound <= least(now(), now() - make_interval(months => old_weeks.months)))
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.old_weeks(text, int) is
  'The partitions of a set that ended at least that many months ago and are not consolidated, each with why it cannot be, or null. A partition without bounds is among them, with its advice.';
--! EndIncluded functions/old_weeks.sql
--! Included functions/consolidation_obstacles.sql
create or replace function strata.consolidation_obstacles(set_name text, week regclass)
returns table (obstacle text, remedy text, concerns text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  with parts as (
    select c.oid, c.relname, c.relkind, c.relpersistence, c.relowner, n.nspname, c.oid = week as is_week
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = week or c.oid in (select i.inhrelid from pg_inherits i where i.inhparent = week)
  ),
  root as (
    select i.inhparent as oid from pg_inherits i where i.inhrelid = week
  ),
  involved as (
    select oid from parts union all select oid from root
  ),
  taken as (  -- names that consolidating makes, and where
    select p.nspname as schema_name, p.relname || '_consolidated' as name from parts p where p.is_week
    union all
    select 'strata_held', p.relname::text from parts p
    union all
    select 'strata_held', p.relname || suffix from parts p, unnest(array['_capture', '_reverse']) suffix where p.is_week
  )
  select o.obstacle, o.remedy, 'week'
    from strata.week_info(set_name) w
    cross join lateral (
      select 'it is consolidated already', 'There is nothing to do.' where w.kind = 'consolidated'
      union all
      select 'it is not one whole week (Sunday 00:00 UTC to the next)', 'Leave it, or move its rows into weeks.' where w.kind = 'odd'
      union all
      select 'its hash partitions are the shards of a cluster', 'They are not merged: pgstrata maintain consolidate stores old weeks of balance_changes by column.' where w.kind in ('sharded', 'columnar')
      union all
      select format('it is a %s partition', w.kind), 'Maintenance leaves it alone.' where w.kind not in ('consolidated', 'odd', 'hash', 'list', 'sharded', 'columnar')
      union all
      select 'it has no partitions', 'There is nothing to merge.' where w.kind in ('hash', 'list') and w.leaves = 0
      union all
      select 'it is not over yet', 'Wait until it is.' where w.kind in ('hash', 'list') and w.upper_bound > now()
      union all
      select format('a consolidation of it is unfinished (%s since %s)', c.step, c.started_at), 'Finish or undo that one first: pgstrata maintain consolidate.'
        from strata.consolidations c
       where c.set_name = consolidation_obstacles.set_name and c.lower_bound = w.lower_bound and c.finished_at is null and w.kind <> 'consolidated'
    ) o (obstacle, remedy)
   where w.partition = week
  union all
  select format('the set has a DEFAULT partition, %s, which every attach would scan while all queries wait', t.partdefid::regclass),
         'Move its rows into weeks and drop it; what is out of bounds belongs into strata.quarantine.', 'week'
    from pg_partitioned_table t join root r on r.oid = t.partrelid where t.partdefid <> 0
  union all
  select format('the detach of %s was interrupted', i.inhrelid::regclass),
         format('Finish it: ALTER TABLE %s DETACH PARTITION %s FINALIZE;', i.inhparent::regclass, i.inhrelid::regclass), 'week'
    from pg_inherits i join root r on r.oid = i.inhparent where i.inhdetachpending
  union all
  select 'the table has no primary key to follow changes by', 'Add a PRIMARY KEY to the parent.', 'online'
    from root r where not exists (select from pg_constraint k where k.conrelid = r.oid and k.contype = 'p')
  union all
  select format('the foreign key %I ties %s to other tables', k.conname, k.conrelid::regclass),
         'Drop it: partitions cannot be exchanged under a foreign key without checking every row.', 'online'
    from pg_constraint k
   where k.contype = 'f' and k.conparentid = 0 and (k.conrelid in (select oid from involved) or k.confrelid in (select oid from involved))
  union all
  select format('%s has the exclusion constraint %I', k.conrelid::regclass, k.conname), 'Drop it, or leave this set''s weeks as they are.', 'week'
    from pg_constraint k where k.contype = 'x' and k.conrelid = week
  union all
  select format('%s is no ordinary, logged table', p.oid::regclass), 'Only ordinary leaves can be merged.',
         case when p.relkind <> 'r' then 'week' else 'online' end
    from parts p where not p.is_week and (p.relkind <> 'r' or p.relpersistence <> 'p')
  union all
  select format('%s lies in another schema than its week', p.oid::regclass), 'Move it: ALTER TABLE … SET SCHEMA.', 'online'
    from parts p where p.nspname <> (select w.nspname from parts w where w.is_week)
  union all
  select format('%s has the trigger %I of its own', g.tgrelid::regclass, g.tgname), 'Create it on the week or on the parent, or drop it.', 'week'
    from pg_trigger g join parts p on p.oid = g.tgrelid
   where not p.is_week and not g.tgisinternal and g.tgparentid = 0
  union all
  select format('%s has the index %s of its own', x.indrelid::regclass, x.indexrelid::regclass), 'Create it on the parent, or drop it.', 'online'
    from pg_index x join parts p on p.oid = x.indrelid
   where not p.is_week and not exists (select from pg_inherits i where i.inhrelid = x.indexrelid)
  union all
  select format('%s is used by the view or rule of %s', d.refobjid::regclass, w.ev_class::regclass), 'Let it read the parent instead.', 'week'
    from pg_depend d
    join pg_rewrite w on w.oid = d.objid
   where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from parts)
   group by d.refobjid, w.ev_class
  union all
  select format('the name %s is too long to derive others from', quote_ident(p.relname)), 'Rename the week: at most 50 bytes.', 'week'
    from parts p where p.is_week and octet_length(p.relname) > 50
  union all
  select format('there is a %I.%I already', t.schema_name, t.name),
         case when t.schema_name = 'strata_held' then 'Drop what is held there, or wait until it is due.' else 'Rename or drop it.' end, 'week'
    from taken t join pg_class c on c.relname = t.name join pg_namespace n on n.oid = c.relnamespace and n.nspname = t.schema_name
  union all
  select format('row level security hides rows of %s from %I', p.oid::regclass, current_user), 'Run maintenance as a role with BYPASSRLS.', 'role'
    from parts p where row_security_active(p.oid)
  union all
  select format('%s does not belong to %I', c.oid::regclass, current_user), 'Run maintenance as the owner, or as a member of that role.', 'role'
    from pg_class c where c.oid in (select oid from involved) and not pg_has_role(c.relowner, 'usage')
  union all
  select format('%I may not create tables in schema %I', current_user, n.nspname), format('GRANT CREATE ON SCHEMA %I TO %I;', n.nspname, current_user), 'role'
    from pg_namespace n
   where (n.nspname = 'strata_held' or n.nspname in (select p.nspname from parts p where p.is_week))
     and not has_schema_privilege(n.oid, 'create')
  union all
  select format('the prepared transaction %s holds locks on %s', quote_literal(x.gid), min(l.relation::regclass::text)),
         format('Commit it or roll it back: ROLLBACK PREPARED %L;', x.gid), 'online'
    from pg_prepared_xacts x
    join pg_locks l on l.transactionid = x.transaction or l.virtualtransaction = '-1/' || x.transaction::text
   where x.database = current_database() and l.relation in (select oid from involved)
   group by x.gid;
end;

comment on function strata.consolidation_obstacles(text, regclass) is
  'Why a week of a set cannot be consolidated now, each with what to do; no row when nothing stands in the way. concerns: week, whoever does it and however; online, only the way that lets writers go on, which exchanges tables under them; role, only who asks.';
--! EndIncluded functions/consolidation_obstacles.sql
--! Included functions/index_sharded_week.sql
create or replace function strata.index_sharded_week(set_name text, week regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if set_name = 'balance_changes' then
    execute format('create index on %s using brin (block_time, block_num)', week);
  end if;
end
$$;

comment on function strata.index_sharded_week(text, regclass) is
  'Indexes of a week on a cluster that its set cannot have as a whole: a week that is stored by column takes no BRIN index, so balance_changes itself has none there.';
--! EndIncluded functions/index_sharded_week.sql
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
  'Stores a week of balance_changes on a cluster by column (columnar), or row by row again (heap), in one transaction: a copy is built beside it, compared by row count and an order-free hash of every row, and takes its place. Returns the rows, 0 when the week is stored so already. Writers of the week wait meanwhile, readers of the set for the exchange. Security definer, so that a reorg can turn a week back.';
--! EndIncluded functions/store_week.sql
--! Included functions/make_weeks_writable.sql
create or replace function strata.make_weeks_writable(set_name text, from_time timestamptz) returns int
language plpgsql
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
  'Turns the weeks from this instant on that are stored by column back, because rows can be deleted only where they are stored row by row; returns how many. A reorg that deep calls it.';
--! EndIncluded functions/make_weeks_writable.sql
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
--! Included functions/create_week.sql
create or replace function strata.create_week(set_name text, lower_bound timestamptz) returns regclass
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  week regclass := strata.build_week(set_name, lower_bound);
begin
  if strata.is_distributed((select s.parent from strata.partition_sets s where s.set_name = create_week.set_name)) then
    perform strata.index_sharded_week(set_name, week);
  end if;
  perform strata.attach_week(set_name, lower_bound, week);
  return week;
end
$$;

comment on function strata.create_week(text, timestamptz) is
  'Creates one week with its hash or list partitions and attaches it; the root gets no more than SHARE UPDATE EXCLUSIVE. Use ensure_weeks(), which serialises callers.';
--! EndIncluded functions/create_week.sql
--! Included functions/distribute.sql
create or replace function strata.distribute(shard_count int default 32) returns text
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set client_min_messages = warning
as $$
declare
  present text := strata.shard_stamp();
  name    text;
  found   int;
begin
  if not exists (select from pg_extension e where e.extname = 'citus') then
    raise exception 'this database has no extension citus'
      using errcode = 'object_not_in_prerequisite_state', hint = 'create extension citus on every node, name the nodes with citus_add_node(), then migrate again.';
  end if;
  perform pg_advisory_xact_lock(strata.advisory_key('distribute'));
  perform set_config('citus.enable_ddl_propagation', 'on', true);
  -- One connection to each node: what one statement makes the next one finds.
  perform set_config('citus.multi_shard_modify_mode', 'sequential', true);
  perform strata.prepare_nodes();
  if strata.topology() = 'single' then
    perform strata.flatten_for_shards();
    -- Weeks that are stored by column take no BRIN index: each other week has its own.
    drop index strata.balance_changes_time_brin;
    perform strata.index_sharded_week('balance_changes', p.partition) from strata.parts_of('strata.balance_changes') p;
    foreach name in array array['assets', 'prices', 'burn_accounts', 'balance_status'] loop
      perform create_reference_table(format('strata.%I', name)::regclass);
    end loop;
    perform create_distributed_table('strata.balance_changes', 'account_address', colocate_with => 'none', shard_count => distribute.shard_count);
    foreach name in array array['account_balances', 'account_balances_current', 'account_balances_opening', 'snapshot_rows', 'held_openings', 'held_deltas'] loop
      perform create_distributed_table(format('strata.%I', name)::regclass, 'account_address', colocate_with => 'strata.balance_changes');
    end loop;
    perform strata.open_shard_stages();
    perform strata.list_shards();
  end if;
  if (select count(*) from strata.shards s where s.stamp <> present) > 0 then
    update strata.shards set stamp = present;
  end if;
  perform sum(strata.make_shard_functions(s.shard_id, s.stamp)) from strata.shards s;
  select count(*) into found from strata.shards;
  return format('citus, %s shards', found);
end
$$;

comment on function strata.distribute(int) is
  'Puts the warehouse on the cluster that this database coordinates: weeks by range, sharded by account_address; assets, prices and labels on every node; ledgers and journals here. Once; later calls bring the functions in the shards up to date. `pgstrata migrate` calls it. Rows that are there go along: writers wait meanwhile.';
--! EndIncluded functions/distribute.sql
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
    strata.recompute_floor(), strata.recompute_balances(bytea, bigint, timestamptz, int, text), strata.verify_rows(int, timestamptz, text),
    strata.verify_state(int), strata.verify_sums(), strata.verify_snapshots(int), strata.verify_ledger(),
    strata.topology(), strata.is_distributed(oid), strata.parts_of(regclass), strata.folded_predicate(text),
    strata.in_shard_rows(bigint, text, text, text[]), strata.in_shards_rows(text, text[]),
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

--! Included functions/copy_properties.sql
create or replace function strata.copy_properties(source regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  leaves  oid[] := coalesce((select array_agg(i.inhrelid) from pg_inherits i where i.inhparent = source), array[source::oid]);
  command text;
begin
  for command in
    with like_source as (  -- what holds for the week, or for each of its leaves
      select c.oid, c.relacl, c.relowner from pg_class c where c.oid = source
    ),
    acl as (
      select null::name as column_name, x.grantee, x.privilege_type, x.is_grantable, c.oid = source as of_week
        from pg_class c cross join lateral aclexplode(c.relacl) x
       where c.oid = source or c.oid = any (leaves)
      union all
      select a.attname, x.grantee, x.privilege_type, x.is_grantable, a.attrelid = source
        from pg_attribute a cross join lateral aclexplode(a.attacl) x
       where (a.attrelid = source or a.attrelid = any (leaves)) and a.attnum > 0 and not a.attisdropped
    ),
    granted as (
      select column_name, grantee, privilege_type, bool_or(is_grantable) as is_grantable
        from acl
       where grantee <> (select relowner from like_source)
       group by column_name, grantee, privilege_type
      having bool_or(of_week) or count(*) = cardinality(leaves)
    )
    -- Default privileges have given the new table what the old one may not have.
    select s.statement from (
    select 1 as place, format('revoke all on table %s from %s', target, strata.role_text(x.grantee))
      from pg_class c cross join lateral aclexplode(c.relacl) x
     where c.oid = target and x.grantee <> c.relowner
     group by x.grantee
    union all
    select 2, format('alter table %s owner to %I', target, pg_get_userbyid(s.relowner))
      from like_source s, pg_class t where t.oid = target and t.relowner <> s.relowner
    union all
    select 3, format('grant %s%s on table %s to %s%s', privilege_type, ' (' || quote_ident(column_name) || ')', target,
             strata.role_text(grantee), case when is_grantable then ' with grant option' else '' end)
      from granted
    union all
    select 4, format('alter table %s enable row level security', target)
     where exists (select from pg_class c where (c.oid = source or c.oid = any (leaves)) and c.relrowsecurity)
    union all
    select 4, format('alter table %s force row level security', target)
     where exists (select from pg_class c where (c.oid = source or c.oid = any (leaves)) and c.relforcerowsecurity)
    union all
    select 5, format('create policy %I on %s as %s for %s to %s%s%s', p.polname, target,
             case when p.polpermissive then 'permissive' else 'restrictive' end,
             case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
             (select string_agg(strata.role_text(r), ', ') from unnest(p.polroles) r),
             ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
      from (select distinct on (polname) * from pg_policy
             where polrelid = source or polrelid = any (leaves) order by polname, polrelid <> source) p
    union all
    select 6, format('comment on table %s is %L', target, obj_description(source, 'pg_class'))
     where obj_description(source, 'pg_class') is not null
    union all
    -- What leaves agree on; room for updates is what a settled week does not need.
    select 7, format('alter table %s set (%s)', target, string_agg(format('%I = %L', option_name, option_value), ', '))
      from (select o.option_name, o.option_value
              from pg_class c cross join lateral pg_options_to_table(c.reloptions) o
             where c.oid = any (leaves) and o.option_name <> 'fillfactor'
               and (select t.relkind from pg_class t where t.oid = target) = 'r'
             group by 1, 2 having count(*) = cardinality(leaves)) agreed
    having count(*) > 0
    union all
    select 7, format('alter table %s set (%s)', target, string_agg(format('toast.%I = %L', option_name, option_value), ', '))
      from (select o.option_name, o.option_value
              from pg_class c join pg_class x on x.oid = c.reltoastrelid cross join lateral pg_options_to_table(x.reloptions) o
             where c.oid = any (leaves) and (select t.reltoastrelid from pg_class t where t.oid = target) <> 0
             group by 1, 2 having count(*) = cardinality(leaves)) agreed
    having count(*) > 0
    union all
    select 8, format('alter table %s alter column %I set statistics %s', target, a.attname, max(l.attstattarget))
      from pg_attribute a
      join pg_attribute l on l.attname = a.attname and (l.attrelid = source or l.attrelid = any (leaves)) and l.attstattarget >= 0
     where a.attrelid = target and a.attnum > 0 and not a.attisdropped
     group by a.attname
    union all
    select 9, format('alter table %s alter column %I set (%s)', target, attname, string_agg(format('%I = %L', option_name, option_value), ', '))
      from (select distinct on (l.attname, o.option_name) l.attname, o.option_name, o.option_value
              from pg_attribute l cross join lateral pg_options_to_table(l.attoptions) o
             where (l.attrelid = source or l.attrelid = any (leaves)) and not l.attisdropped
               and o.option_name <> 'pg_attver'  -- the server's own stamp, since the minor releases of November 2026
             order by l.attname, o.option_name, l.attrelid <> source) options
     group by attname
    union all
    select 10, format('comment on column %s.%I is %L', target, a.attname, col_description(source, a.attnum))
      from pg_attribute a
     where a.attrelid = source and a.attnum > 0 and not a.attisdropped and col_description(source, a.attnum) is not null
    union all
    select 10 + part, case part
             when 1 then format('create statistics %s%s on %s from %s', name, ' (' || kinds || ')', columns, target)
             else format('alter statistics %s set statistics %s', name, stattarget) end
      from (select pg_get_statisticsobjdef_columns(e.oid) as columns, (to_jsonb(e) ->> 'stxstattarget')::int as stattarget,
                   format('%I.%I', n.nspname, left(c.relname, 52) || '_stat_' || row_number() over (order by e.oid)) as name,
                   (select string_agg(case k when 'd' then 'ndistinct' when 'f' then 'dependencies' else 'mcv' end, ', ')
                      from unnest(e.stxkind) k where k in ('d', 'f', 'm')) as kinds
              from pg_statistic_ext e cross join pg_class c join pg_namespace n on n.oid = c.relnamespace
             where e.stxrelid = source and c.oid = target
               and not exists (select from pg_statistic_ext o where o.stxrelid = target and o.stxkind = e.stxkind
                                  and pg_get_statisticsobjdef_columns(o.oid) = pg_get_statisticsobjdef_columns(e.oid))) extended
      cross join generate_series(1, 2) part
     where part = 1 or stattarget >= 0
    ) s(place, statement) order by s.place
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.copy_properties(regclass, regclass) is
  'Gives target what columns and checks alone do not bring: owner, grants of table and columns, row level security and its policies, comments, storage parameters (not fillfactor: a settled week needs no room for updates), statistics targets and options of columns, extended statistics. Where source is partitioned, what its partitions agree on counts too. What must act on one of the two only is for hand_over().';
--! EndIncluded functions/copy_properties.sql

select strata.grant_roles();
