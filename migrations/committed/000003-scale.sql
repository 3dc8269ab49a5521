--! Previous: sha1:2a8fe3f612a2c086c8f303e6a32b6ad10fbe2ee3
--! Hash: sha1:24b2cffab0245821547110b4b48fe79c6bb417e5
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
begin
  select * into strict s from strata.partition_sets p where p.set_name = build_week.set_name;
  select n.nspname, c.relname into strict schema_name, root
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = s.parent;

  -- CREATE … PARTITION OF would lock the root ACCESS EXCLUSIVE. Built apart with a CHECK that equals its bounds, the week is
  -- attached under SHARE UPDATE EXCLUSIVE and without a scan.
  execute format(
    'create table %1$I.%2$I (like %1$I.%3$I including all excluding identity %9$s, constraint %4$I check (%5$I >= %6$L and %5$I < %7$L)) partition by %8$s',
    schema_name, week, root, week || '_bounds', s.time_column, lower_bound, upper_bound, format('%s (%I)', s.layout, s.hash_column),
    case when indexed then '' else 'excluding indexes' end);
  storage := case when s.leaf_fillfactor is null then '' else format(' with (fillfactor = %s)', s.leaf_fillfactor) end;
  for leaf in
    select 'hash_' || remainder as name, format('for values with (modulus %s, remainder %s)', s.modulus, remainder) as bound
      from generate_series(0, s.modulus - 1) remainder where s.layout = 'hash'
    union all
    select g ->> 'name', format('for values in (%s)', (select string_agg(quote_literal(v), ', ') from jsonb_array_elements_text(g -> 'values') v))
      from jsonb_array_elements(s.groups) g
    union all
    select 'default', 'default' where s.layout = 'list'
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
--! Included functions/create_week.sql
create or replace function strata.create_week(set_name text, lower_bound timestamptz) returns regclass
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  week regclass := strata.build_week(set_name, lower_bound);
begin
  perform strata.attach_week(set_name, lower_bound, week);
  return week;
end
$$;

comment on function strata.create_week(text, timestamptz) is
  'Creates one week with its hash or list partitions and attaches it; the root gets no more than SHARE UPDATE EXCLUSIVE. Use ensure_weeks(), which serialises callers.';
--! EndIncluded functions/create_week.sql
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
    strata.size_bands(bigint, timestamptz, numeric[]), strata.span_of(text, timestamptz, timestamptz, bigint), strata.state_is_stale(),
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
