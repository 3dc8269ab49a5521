--! Previous: -
--! Hash: sha1:6dbb57c7c11b9c342ff518c52dcfffc559467297
--! Message: warehouse

-- Table DDL lives only here; functions and views live one per file under sql/ and are included below.
create schema if not exists strata;
comment on schema strata is 'pgstrata: a partitioned balance warehouse fed by Arrow Flight';

create table strata.partition_sets (
  set_name          text primary key check (octet_length(set_name) between 1 and 39),
  parent            regclass not null unique,
  time_column       name not null,
  hash_column       name not null,
  modulus           int not null default 4 check (modulus between 1 and 1024),
  premake           int not null default 4 check (premake between 0 and 520),
  window_start      timestamptz not null default '2009-01-01 00:00:00+00',
  window_ahead      interval not null default '7 days' check (window_ahead >= interval '0'),
  leaf_fillfactor   int check (leaf_fillfactor between 10 and 100),
  consolidate_after interval check (consolidate_after >= interval '0'),
  retain            interval check (retain >= interval '7 days'),
  layout            text not null default 'hash' check (layout in ('hash', 'list')),
  groups            jsonb check ((layout = 'list') = (groups is not null)),
  heap_order        text not null default 'time' check (heap_order in ('time', 'key')),
  hold              interval not null default '7 days' check (hold >= interval '0'),
  size_alert        bigint not null default 1000000000 check (size_alert > 0),
  created_at        timestamptz not null default now()
);
comment on table strata.partition_sets is 'One row per managed parent table: how its weeks are cut, created ahead, consolidated and retained';
comment on column strata.partition_sets.modulus is 'Hash partitions per new week';
comment on column strata.partition_sets.premake is 'Weeks created ahead of the present one';
comment on column strata.partition_sets.window_start is 'Rows earlier than this are quarantined';
comment on column strata.partition_sets.window_ahead is 'Rows later than now + this are quarantined';
comment on column strata.partition_sets.leaf_fillfactor is 'Fillfactor of new hash leaves; null is PostgreSQL''s default';
comment on column strata.partition_sets.consolidate_after is 'Age at which a week''s hash partitions are merged; null never';
comment on column strata.partition_sets.retain is 'Age beyond which weeks are detached and dropped; null keeps everything';
comment on column strata.partition_sets.layout is 'What a week is cut by: hash of hash_column, or list of its values in groups';
comment on column strata.partition_sets.groups is 'For the list layout: [{"name": "holding", "values": ["…"]}]; what no group names goes to the week''s own default partition';
comment on column strata.partition_sets.heap_order is 'How a consolidated week lies on disk: by time (BRIN on time works) or by key (account look-ups read few pages)';
comment on column strata.partition_sets.hold is 'How long a week that was taken out is kept before it is dropped';
comment on column strata.partition_sets.size_alert is 'Bytes beyond which one partition is reported as too big';

create table strata.streams (
  stream       text primary key check (stream <> ''),
  load         text not null check (load in ('transfers', 'snapshots', 'rows')),
  target       text not null,
  definition   jsonb not null,
  grain        text not null default 'hour' check (grain in ('hour', 'day')),
  epoch        bigint not null default 0,
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now()
);
comment on table strata.streams is 'A named Flight query that feeds one load';
comment on column strata.streams.grain is 'Period of the balance rows its changes make';
comment on column strata.streams.epoch is 'Fencing token: raised by each process that takes the stream; a commit under an older epoch is refused';

create table strata.sources (
  source_id smallint generated always as identity primary key,
  stream    text not null references strata.streams on delete restrict,
  network   text not null,
  unique (stream, network)
);
comment on table strata.sources is 'One network of one stream: ledgers, reorgs and fold progress are kept per source';

create table strata.stream_batches (
  source_id      smallint not null references strata.sources,
  start_block    bigint not null check (start_block >= 0),
  end_block      bigint not null,
  hash           text,
  prev_hash      text,
  batch_id       bigint not null,
  row_count      bigint not null,
  quarantined    bigint not null default 0,
  block_time     timestamptz,
  min_time       timestamptz,
  max_time       timestamptz,
  committed_at   timestamptz not null default clock_timestamp(),
  primary key (source_id, start_block),
  check (end_block >= start_block)
);
comment on table strata.stream_batches is 'The ledger: one row per committed block range, written in the transaction of its rows';
comment on column strata.stream_batches.hash is 'Hash of end_block; null where the range was cut short by --to';
comment on column strata.stream_batches.prev_hash is 'Hash of the parent of start_block; null where the server does not say';
comment on column strata.stream_batches.batch_id is 'First 8 bytes of SHA-256 over network:start:end:hash:prev_hash';
comment on column strata.stream_batches.block_time is 'Time of end_block, where the server says it';
comment on column strata.stream_batches.min_time is 'Earliest time among the range''s rows: the literal bound that lets a reorg prune old weeks';
comment on column strata.stream_batches.row_count is 'Rows the range put into its table';

create table strata.quarantine (
  quarantine_id  bigint generated always as identity primary key,
  source_id      smallint not null references strata.sources,
  block_num      bigint not null,
  reason         text not null,
  detail         jsonb not null,
  quarantined_at timestamptz not null default clock_timestamp()
);
create index quarantine_source_block on strata.quarantine (source_id, block_num);
comment on table strata.quarantine is 'Rows that were refused a place, each with its reason; nothing is dropped silently';

create table strata.assets (
  asset_id  bigint primary key,
  network   text not null,
  standard  text not null,
  asset_key text not null,
  token_id  numeric,
  symbol    text,
  decimals  int check (decimals between 0 and 255),
  grain     text not null default 'hour' check (grain in ('hour', 'day')),
  observed  boolean not null default false,
  zero_sum  boolean not null default true,
  unique nulls not distinct (network, standard, asset_key, token_id)
);
comment on table strata.assets is 'What is counted: a token, an NFT, a points activity. asset_id is computed from the natural key, see strata.asset_id()';

comment on column strata.assets.grain is 'Period of its balance rows; one asset has one';
comment on column strata.assets.observed is 'Its balances come from snapshots; there are no changes to recompute them from';
comment on column strata.assets.zero_sum is 'Every change has its counterpart, so that the balances of all accounts sum to zero';

create table strata.balance_changes (
  account_address bytea not null,
  asset_id        bigint not null,
  block_time      timestamptz not null,
  block_num       bigint not null,
  ordinal         int not null,
  source_id       smallint not null,
  delta           numeric not null,
  primary key (account_address, asset_id, block_time, block_num, ordinal, source_id)
) partition by range (block_time);
create index balance_changes_time_brin on strata.balance_changes using brin (block_time, block_num);
comment on table strata.balance_changes is 'The append-only truth: one signed amount for one account in one asset. Weeks of block_time × hash of account_address';
comment on column strata.balance_changes.ordinal is 'Position of the change in its block';

create table strata.account_balances (
  account_address bytea not null,
  asset_id        bigint not null,
  "timestamp"     timestamptz not null,
  balance         numeric not null,
  change_count    int not null,
  usd_value       numeric,
  data            jsonb,
  primary key (account_address, asset_id, "timestamp")
) partition by range ("timestamp");
create index account_balances_time_brin on strata.account_balances using brin ("timestamp");
comment on table strata.account_balances is 'Balance at the end of each period that had a change; "timestamp" is the period''s start. Weeks × hash of account_address';

create table strata.account_balances_current (
  account_address bytea not null,
  asset_id        bigint not null,
  balance         numeric not null,
  "timestamp"     timestamptz not null,
  primary key (account_address, asset_id)
) partition by hash (account_address);
comment on table strata.account_balances_current is 'The state: the newest balance of every account and asset; seeds each fold';

create table strata.account_balances_opening (
  like strata.account_balances_current including comments,
  primary key (account_address, asset_id)
) partition by hash (account_address);
comment on table strata.account_balances_opening is 'What retention carried forward when it dropped weeks: the balance of each key at the first retained instant';

create table strata.snapshot_rows (
  account_address bytea not null,
  asset_id        bigint not null,
  observed_at     timestamptz not null,
  block_num       bigint not null,
  ordinal         int not null,
  source_id       smallint not null,
  balance         numeric not null check (balance not in ('NaN', 'Infinity', '-Infinity')),
  usd_value       numeric check (usd_value not in ('NaN', 'Infinity', '-Infinity')),
  data            jsonb,
  primary key (account_address, asset_id, observed_at, block_num, ordinal, source_id)
) partition by range (observed_at);
create index snapshot_rows_time_brin on strata.snapshot_rows using brin (observed_at, block_num);
comment on table strata.snapshot_rows is 'The append-only truth of observed balances: every snapshot as it came, whose latest one per period is the balance row. Weeks of observed_at × hash of account_address';
comment on column strata.snapshot_rows.ordinal is 'Position of the row in the range it came with; of two snapshots of one instant the later block, then the later row wins';

do $$
begin
  for remainder in 0..3 loop
    execute format('create table strata.%I partition of strata.account_balances_current for values with (modulus 4, remainder %s) with (fillfactor = 70)',
      'account_balances_current_hash_' || remainder, remainder);
    execute format('create table strata.%I partition of strata.account_balances_opening for values with (modulus 4, remainder %s)',
      'account_balances_opening_hash_' || remainder, remainder);
  end loop;
end
$$;

create table strata.balance_status (
  only_row      boolean primary key default true check (only_row),
  stale         boolean not null default false,
  reason        text,
  opened_before timestamptz not null default '-infinity',
  changes_from  timestamptz not null default '-infinity',
  observations_from timestamptz not null default '-infinity',
  changed_at    timestamptz not null default clock_timestamp()
);
insert into strata.balance_status default values;
comment on table strata.balance_status is 'One row: whether the state may be trusted, and what retention has dropped';
comment on column strata.balance_status.opened_before is 'Balances before this were dropped; account_balances_opening has what they came to';
comment on column strata.balance_status.changes_from is 'Balance changes before this were dropped';
comment on column strata.balance_status.observations_from is 'Rows of snapshot_rows before this were dropped';

create table strata.fold_progress (
  source_id      smallint not null references strata.sources,
  hash_partition int not null default 0,
  folded_block   bigint not null,
  updated_at     timestamptz not null default clock_timestamp(),
  primary key (source_id, hash_partition)
);
comment on table strata.fold_progress is 'How far each source and hash partition is folded into balances';

create table strata.maintenance_runs (
  run_id      bigint generated always as identity primary key,
  set_name    text not null,
  verb        text not null,
  asked_by    text not null default 'command' check (asked_by in ('command', 'schedule', 'sql', 'library')),
  plan        jsonb not null default '{}',
  outcome     text not null default 'running' check (outcome in ('running', 'done', 'nothing', 'refused', 'failed', 'stopped')),
  error       text,
  detail      jsonb not null default '{}',
  host        text,
  backend_pid int default pg_backend_pid(),
  started_at  timestamptz not null default clock_timestamp(),
  finished_at timestamptz
);
create index maintenance_runs_set_verb on strata.maintenance_runs (set_name, verb, started_at);
comment on table strata.maintenance_runs is 'Journal: every maintenance run with its plan and outcome';
comment on column strata.maintenance_runs.outcome is 'running, done, nothing (the plan was empty), refused (reality differed from the plan), failed, stopped (asked to)';

create table strata.consolidations (
  consolidation_id bigint generated always as identity primary key,
  set_name         text not null references strata.partition_sets,
  lower_bound      timestamptz not null,
  upper_bound      timestamptz not null,
  way              text not null default 'online' check (way in ('online', 'transaction')),
  step             text not null check (step in
    ('planned', 'capturing', 'copying', 'indexing', 'freezing', 'replaying', 'verified', 'swapped', 'undoing', 'undone', 'dropped', 'failed')),
  week             oid not null,
  week_name        text not null,
  stage            oid,
  stage_name       text not null,
  heap_order       text not null check (heap_order in ('time', 'key')),
  row_count        bigint,
  bytes_before     bigint,
  bytes_after      bigint,
  predicted_saving numeric,
  actual_saving    numeric,
  proof            jsonb,
  detail           jsonb not null default '{}',
  error            text,
  run_id           bigint references strata.maintenance_runs on delete set null,
  started_at       timestamptz not null default clock_timestamp(),
  updated_at       timestamptz not null default clock_timestamp(),
  swapped_at       timestamptz,
  finished_at      timestamptz
);
create unique index consolidations_one_at_a_time on strata.consolidations (set_name, lower_bound) where finished_at is null;
comment on table strata.consolidations is 'Journal: one row per consolidation of a week, brought up to date at each step; a crash resumes or undoes from it';
comment on column strata.consolidations.way is 'online: step by step from a client, writers go on; transaction: one statement from SQL, writers of that week wait';
comment on column strata.consolidations.step is 'The last step that is committed; swapped keeps the old week held until it is dropped or undone';
comment on column strata.consolidations.predicted_saving is 'Share of bytes_before that the estimate said would be saved, 0 to 1';
comment on column strata.consolidations.actual_saving is 'Share of bytes_before that was saved, 0 to 1';
comment on column strata.consolidations.proof is 'Row count and order-independent hash of both sides at one snapshot';

create table strata.held_partitions (
  held_id          bigint generated always as identity primary key,
  set_name         text not null references strata.partition_sets,
  lower_bound      timestamptz not null,
  upper_bound      timestamptz not null,
  reason           text not null check (reason in ('retained', 'consolidated', 'undone')),
  partition        oid not null,
  partition_name   text not null,
  bytes            bigint,
  row_count        bigint,
  consolidation_id bigint references strata.consolidations,
  state            text not null default 'held' check (state in ('detaching', 'held', 'dropped', 'reattached')),
  detail           jsonb not null default '{}',
  detached_at      timestamptz not null default clock_timestamp(),
  drop_after       timestamptz not null,
  finished_at      timestamptz
);
comment on table strata.held_partitions is 'Journal: weeks that were taken out of their set, each kept in schema strata_held until drop_after, so that it can be put back';
comment on column strata.held_partitions.partition is 'The table itself; its name changes when it is held, its oid does not';
comment on column strata.held_partitions.partition_name is 'Its name in the set, which it gets back when it is put back';

create table strata.adoptions (
  adoption_id  bigint generated always as identity primary key,
  set_name     text not null,
  source       oid not null,
  root         oid,
  step         text not null check (step in
    ('planned', 'capturing', 'copying', 'indexing', 'arming', 'replaying', 'verified', 'swapped', 'undoing', 'undone', 'dropped', 'failed')),
  adoption     jsonb not null,
  row_count    bigint,
  bytes_before bigint,
  bytes_after  bigint,
  proof        jsonb,
  detail       jsonb not null default '{}',
  error        text,
  started_at   timestamptz not null default clock_timestamp(),
  updated_at   timestamptz not null default clock_timestamp(),
  swapped_at   timestamptz,
  drop_after   timestamptz,
  finished_at  timestamptz
);
create unique index adoptions_one_at_a_time on strata.adoptions (set_name) where finished_at is null;
comment on table strata.adoptions is 'Journal: one row per table that was made a managed set, brought up to date at each step; a crash resumes or undoes from it';
comment on column strata.adoptions.source is 'The plain table; in schema strata_held from swapped on, until drop_after';
comment on column strata.adoptions.step is 'The last step that is committed';
comment on column strata.adoptions.adoption is 'Every name and statement that undoing or resuming needs';
comment on column strata.adoptions.proof is 'Row count and order-independent hash of both sides at one snapshot';

create schema if not exists strata_held;
comment on schema strata_held is 'Weeks that maintenance took out of their set and has not dropped yet; see strata.held_partitions';

--! Included functions/account.sql
create or replace function strata.account(address text) returns bytea
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return case
  when address ~ '^0x([0-9a-fA-F]{2})*$' then decode(substr(address, 3), 'hex')
  else convert_to(address, 'UTF8')
end;

comment on function strata.account(text) is
  'Account as stored: 0x… hex is its bytes, anything else (bech32, account number) its UTF-8 bytes. Immutable, so a literal prunes hash partitions.';
--! EndIncluded functions/account.sql
--! Included functions/account_text.sql
create or replace function strata.account_text(account_address bytea) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return case
  when length(account_address) in (20, 32) and encode(account_address, 'escape') ~ '\\' then '0x' || encode(account_address, 'hex')
  -- Printable UTF-8, judged on the hex digits: an EXCEPTION block around convert_from() would not be parallel safe.
  -- Text that looks like hex would read back as other bytes.
  when encode(account_address, 'hex') ~ ('^(?:[2-7][0-9a-e]|[2-6]f|(?:c[2-9a-f]|d[0-9a-f])[89ab][0-9a-f]|e0[ab][0-9a-f][89ab][0-9a-f]'
      || '|(?:e[1-9a-c]|e[ef])(?:[89ab][0-9a-f]){2}|ed[89][0-9a-f][89ab][0-9a-f]|f0[9ab][0-9a-f](?:[89ab][0-9a-f]){2}'
      || '|f[1-3](?:[89ab][0-9a-f]){3}|f48[0-9a-f](?:[89ab][0-9a-f]){2})*$')
    and encode(account_address, 'escape') !~ '^0x([0-9a-fA-F]{2})*$'
    then convert_from(account_address, 'UTF8')
  else '0x' || encode(account_address, 'hex')
end;

comment on function strata.account_text(bytea) is
  'Account as people write it: the text where the bytes are printable UTF-8, else 0x… hex. strata.account() reads either back to the same bytes.';
--! EndIncluded functions/account_text.sql
--! Included functions/asset_id.sql
create or replace function strata.asset_id(network text, standard text, asset_key text, token_id numeric default null) returns bigint
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return (
  'x' || encode(substr(sha256(convert_to(
    network || E'\x1f' || standard || E'\x1f' || asset_key || E'\x1f' || coalesce(trim_scale(token_id)::text, ''), 'UTF8')), 1, 8), 'hex')
)::bit(64)::bigint;

comment on function strata.asset_id(text, text, text, numeric) is
  'Identity of an asset: the first 8 bytes of SHA-256 over network, standard, key and token id (joined by 0x1f) as bigint. The same on every worker and node; the natural key is unique, so a collision is an error.';
--! EndIncluded functions/asset_id.sql
--! Included functions/week_start.sql
create or replace function strata.week_start(instant timestamptz) returns timestamptz
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return date_bin(interval '7 days', instant, timestamptz '1900-01-07 00:00:00+00');

comment on function strata.week_start(timestamptz) is
  'Start of the week (Sunday 00:00 UTC) that holds the instant, in any session time zone.';
--! EndIncluded functions/week_start.sql
--! Included functions/week_name.sql
create or replace function strata.week_name(set_name text, instant timestamptz) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, strata, pg_temp
return set_name || '_' || to_char(strata.week_start(instant) at time zone 'UTC', 'YYYY_MM_DD');

comment on function strata.week_name(text, timestamptz) is
  'Name of the partition for the week that holds the instant, for example balance_changes_2026_01_04.';
--! EndIncluded functions/week_name.sql
--! Included functions/partition_bounds.sql
create or replace function strata.partition_bounds(
  part regclass, out lower_bound timestamptz, out upper_bound timestamptz, out is_default boolean
)
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  bound text;
  edges text[];
begin
  select pg_get_expr(relpartbound, oid) into bound from pg_class where oid = part;
  is_default := bound = 'DEFAULT';
  edges := regexp_match(bound, '^FOR VALUES FROM \((MINVALUE|''([^'']+)'')\) TO \((MAXVALUE|''([^'']+)'')\)$');
  lower_bound := case when edges[1] = 'MINVALUE' then '-infinity' else edges[2] end;
  upper_bound := case when edges[3] = 'MAXVALUE' then 'infinity' else edges[4] end;
end
$$;

comment on function strata.partition_bounds(regclass) is
  'Bounds of a range partition, lower inclusive, upper exclusive, read from the catalog and never from its name; null for a table that is no range partition on one timestamptz column.';
--! EndIncluded functions/partition_bounds.sql
--! Included functions/set_partitions.sql
create or replace function strata.set_partitions(set_name text)
returns table (partition regclass, lower_bound timestamptz, upper_bound timestamptz, is_default boolean, leaves int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select c.oid::regclass, b.lower_bound, b.upper_bound, b.is_default,
         (select count(*)::int from pg_inherits leaf where leaf.inhparent = c.oid)
    from strata.partition_sets s
    join pg_inherits i on i.inhparent = s.parent and not i.inhdetachpending
    join pg_class c on c.oid = i.inhrelid
    cross join lateral strata.partition_bounds(c.oid) b
   where s.set_name = set_partitions.set_name
   order by b.lower_bound;
end;

comment on function strata.set_partitions(text) is
  'The attached partitions of a managed set in time order, by their real bounds; leaves is the number of hash partitions, 0 for a consolidated week.';
--! EndIncluded functions/set_partitions.sql
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
           when c.relkind = 'r' then 'consolidated'
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
  'Every partition of a managed set with its real bounds, kind, sizes in bytes and freshness. kind: hash or list (a week with leaves), consolidated (one table), odd (not one whole week), default, foreign. row_estimate is null until the leaves were analyzed; pages and visible_pages are those of the last VACUUM or ANALYZE.';
--! EndIncluded functions/week_info.sql
--! Included functions/advisory_key.sql
create or replace function strata.advisory_key(name text) returns bigint
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return ('x' || encode(substr(sha256(convert_to('pgstrata:' || name, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint;

comment on function strata.advisory_key(text) is
  'The key of a named advisory lock, the first 8 bytes of SHA-256: the same as the client''s. Names in use: ''maintain <set>'' (one maintainer per set), ''gate <set>'' (shared by each load, exclusive for a swap).';
--! EndIncluded functions/advisory_key.sql
--! Included functions/share_gates.sql
create or replace function strata.share_gates(variadic sets text[]) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  one text;
begin
  -- In one order, whatever order the caller names them in: two loaders and two swaps could wait for each other in a ring otherwise.
  foreach one in array (select array_agg(s order by s) from unnest(sets) s) loop
    perform pg_advisory_xact_lock_shared(strata.advisory_key('gate ' || one));
  end loop;
end
$$;

comment on function strata.share_gates(text[]) is
  'Says that this transaction is going to write to these sets. Call it before the first write: a swap of partitions waits for those who are in, and those who come wait for the swap, instead of being met with locks held.';
--! EndIncluded functions/share_gates.sql
--! Included functions/missing_weeks.sql
create or replace function strata.missing_weeks(set_name text, first_week timestamptz, last_week timestamptz) returns timestamptz[]
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select coalesce(array_agg(week order by week), '{}')
    from generate_series(first_week, last_week, interval '168 hours') week
   where not exists (
     select from strata.set_partitions(missing_weeks.set_name) p
      where p.lower_bound < week + interval '168 hours' and p.upper_bound > week);
end;

comment on function strata.missing_weeks(text, timestamptz, timestamptz) is
  'The weeks of a managed set in [first_week, last_week] that no attached partition covers. Volatile: it must see what others committed while we waited for the lock.';
--! EndIncluded functions/missing_weeks.sql
--! Included functions/create_week.sql
create or replace function strata.create_week(set_name text, lower_bound timestamptz) returns regclass
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
  part        text;
begin
  select * into strict s from strata.partition_sets p where p.set_name = create_week.set_name;
  select n.nspname, c.relname into strict schema_name, root
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = s.parent;

  -- CREATE … PARTITION OF would lock the root ACCESS EXCLUSIVE. Built apart with a CHECK that equals its bounds, the week is
  -- attached under SHARE UPDATE EXCLUSIVE and without a scan.
  execute format(
    'create table %1$I.%2$I (like %1$I.%3$I including all excluding identity, constraint %4$I check (%5$I >= %6$L and %5$I < %7$L)) partition by hash (%8$I)',
    schema_name, week, root, week || '_bounds', s.time_column, lower_bound, upper_bound, s.hash_column);
  storage := case when s.leaf_fillfactor is null then '' else format(' with (fillfactor = %s)', s.leaf_fillfactor) end;
  for remainder in 0 .. s.modulus - 1 loop
    execute format('create table %1$I.%2$I partition of %1$I.%3$I for values with (modulus %4$s, remainder %5$s)%6$s',
      schema_name, week || '_hash_' || remainder, week, s.modulus, remainder, storage);
  end loop;
  -- Whoever owns the root can alter it only if the partitions are theirs, too.
  for part in
    select format('%I.%I', schema_name, p.relname) from pg_class p join pg_class r on r.oid = s.parent and r.relowner <> p.relowner
     where p.oid in (select t.relid from pg_partition_tree(format('%I.%I', schema_name, week)::regclass) t)
  loop
    execute format('alter table %s owner to %I', part, (select pg_get_userbyid(r.relowner) from pg_class r where r.oid = s.parent));
  end loop;
  execute format('alter table %1$I.%2$I attach partition %1$I.%3$I for values from (%4$L) to (%5$L)',
    schema_name, root, week, lower_bound, upper_bound);
  return format('%I.%I', schema_name, week)::regclass;
end
$$;

comment on function strata.create_week(text, timestamptz) is
  'Creates one week with its hash partitions and attaches it; the root gets no more than SHARE UPDATE EXCLUSIVE. Use ensure_weeks(), which serialises callers.';
--! EndIncluded functions/create_week.sql
--! Included functions/ensure_weeks.sql
create or replace function strata.ensure_weeks(set_name text, from_time timestamptz, to_time timestamptz)
returns table (week_start timestamptz, partition regclass, created boolean)
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  first_week timestamptz := strata.week_start(from_time);
  last_week  timestamptz := strata.week_start(to_time);
  missing    timestamptz[];
  week       timestamptz;
begin
  if not exists (select from strata.partition_sets p where p.set_name = ensure_weeks.set_name) then
    raise exception 'there is no partition set %', quote_literal(ensure_weeks.set_name)
      using errcode = 'undefined_object', hint = 'The managed sets are the rows of strata.partition_sets.';
  end if;
  if not isfinite(from_time) or not isfinite(to_time) or to_time < from_time or last_week - first_week > interval '3660 days' then
    raise exception 'cannot create weeks from % to %', from_time, to_time
      using errcode = 'invalid_parameter_value', hint = 'Give two finite instants in order, at most ten years apart.';
  end if;

  missing := strata.missing_weeks(ensure_weeks.set_name, first_week, last_week);
  if cardinality(missing) > 0 then
    -- Callers that need the same weeks wait here, then find them made.
    perform pg_advisory_xact_lock(hashtextextended('pgstrata ' || ensure_weeks.set_name, 0));
    missing := strata.missing_weeks(ensure_weeks.set_name, first_week, last_week);
    foreach week in array missing loop
      perform strata.create_week(ensure_weeks.set_name, week);
    end loop;
  end if;

  return query
    select p.lower_bound, p.partition, p.lower_bound = any (missing)
      from strata.set_partitions(ensure_weeks.set_name) p
     where p.lower_bound <= last_week and p.upper_bound > first_week;
end
$$;

comment on function strata.ensure_weeks(text, timestamptz, timestamptz) is
  'Makes sure that every week from from_time to to_time (both inclusive) exists; returns them with what was created. Security definer, so that a loader needs no right to create tables. Safe for any number of callers at once; commit soon, the attach holds SHARE UPDATE EXCLUSIVE on the root until then.';
--! EndIncluded functions/ensure_weeks.sql
--! Included functions/create_partition_set.sql
create or replace function strata.create_partition_set(
  set_name text, parent regclass, time_column name, hash_column name, modulus int default 4
) returns strata.partition_sets
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  result strata.partition_sets;
  key    text := (select pg_get_partkeydef(parent));
begin
  if key is null or key not in (format('RANGE (%I)', time_column)) then
    raise exception '% is not partitioned by range of %', parent, quote_ident(time_column)
      using errcode = 'wrong_object_type', hint = format('Create it with PARTITION BY RANGE (%I).', time_column);
  end if;
  if not exists (select from pg_attribute a where a.attrelid = parent and a.attname = time_column
                    and a.atttypid = 'timestamptz'::regtype and a.attnotnull) then
    raise exception 'column % of % is not timestamptz not null', quote_ident(time_column), parent
      using errcode = 'datatype_mismatch';
  end if;
  if not exists (select from pg_attribute a where a.attrelid = parent and a.attname = hash_column and a.attnum > 0) then
    raise exception 'column % of % does not exist', quote_ident(hash_column), parent using errcode = 'undefined_column';
  end if;
  insert into strata.partition_sets (set_name, parent, time_column, hash_column, modulus)
  values (set_name, parent, time_column, hash_column, modulus)
  on conflict on constraint partition_sets_pkey do nothing;
  select * into strict result from strata.partition_sets p where p.set_name = create_partition_set.set_name;
  return result;
end
$$;

comment on function strata.create_partition_set(text, regclass, name, name, int) is
  'Puts a table that is partitioned by range of a timestamptz column under management: weeks × modulus hash partitions of hash_column. A set of that name stays as it is.';
--! EndIncluded functions/create_partition_set.sql
--! Included functions/role_text.sql
create or replace function strata.role_text(role oid) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return case when role = 0 then 'public' else quote_ident(pg_get_userbyid(role)) end;

comment on function strata.role_text(oid) is 'A role as it stands in GRANT and CREATE POLICY; 0 is public.';
--! EndIncluded functions/role_text.sql
--! Included functions/refuse_detached.sql
create or replace function strata.refuse_detached() returns trigger
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if current_setting('strata.replaying', true) = 'on' then
    return null;
  end if;
  raise exception '% is not part of its set now; nothing may be written to it', tg_relid::regclass
    using errcode = 'object_not_in_prerequisite_state', hint = 'Write to the parent table, or look the partition up again.';
end
$$;

comment on function strata.refuse_detached() is
  'Trigger on tables that maintenance has taken out of their set or not put in yet: whoever looked a partition up before an exchange and writes now would lose what is written, so it is refused. Only a copy or a replay, which sets strata.replaying, may.';
--! EndIncluded functions/refuse_detached.sql
--! Included functions/index_statements.sql
create or replace function strata.index_statements(source regclass, target text)
returns table (statement text, definition text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select case
           when k.oid is not null then format('alter table %s add %s with (fillfactor = 100)%s', target,
             left(k.definition, length(k.definition) - length(k.tail)), k.tail)
           else format('create %sindex on %s using %s%s%s', case when i.indisunique then 'unique ' else '' end, target, p.core,
             case a.amname
               when 'btree' then ' with (fillfactor = 100)'
               when 'brin' then ' with (pages_per_range = 16, autosummarize = on)'
               else p.options end,
             p.condition)
         end,
         concat(k.contype, case when i.indisunique then ' unique ' else ' ' end, p.core, p.condition)
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am a on a.oid = c.relam
    join pg_class t on t.oid = i.indrelid
    join pg_namespace n on n.oid = t.relnamespace
    cross join lateral (
      select coalesce(' with (' || (
               select string_agg(quote_ident(o.option_name) || '='
                        || case when quote_ident(o.option_value) = o.option_value then o.option_value else quote_literal(o.option_value) end, ', ')
                 from pg_options_to_table(c.reloptions) o) || ')', '') as options,
             coalesce(' WHERE ' || pg_get_expr(i.indpred, i.indrelid), '') as condition,
             -- What pg_get_indexdef() says before the access method, to the letter.
             length(concat('CREATE ', case when i.indisunique then 'UNIQUE ' end, 'INDEX ', quote_ident(c.relname), ' ON ',
               case when c.relkind = 'I' then 'ONLY ' end, format('%I.%I', n.nspname, t.relname), ' USING ')) as head
    ) d
    cross join lateral (
      select d.options, d.condition,
             substr(left(pg_get_indexdef(c.oid), length(pg_get_indexdef(c.oid)) - length(d.options) - length(d.condition)), d.head + 1) as core
    ) p
    left join lateral (
      select con.oid, con.contype, pg_get_constraintdef(con.oid) as definition,
             concat(case when con.condeferrable then ' DEFERRABLE' end, case when con.condeferred then ' INITIALLY DEFERRED' end) as tail
        from pg_constraint con where con.conindid = c.oid and con.conrelid = t.oid and con.contype in ('p', 'u')
    ) k on true
   where i.indrelid = source and i.indisvalid
   order by i.indisprimary desc, c.relname;
end;

comment on function strata.index_statements(regclass, text) is
  'The statements that give target every index of source, as a table that is no longer written much wants them: b-trees packed, BRIN fine-grained. Keys come as constraints, because ATTACH adopts no plain index for one. definition is the same for two indexes that ATTACH takes for each other, but for the names of their tables.';
--! EndIncluded functions/index_statements.sql
--! Included functions/unmatched_indexes.sql
create or replace function strata.unmatched_indexes(source regclass, target regclass) returns setof text
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select s.statement
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join lateral strata.index_statements(source, format('%I.%I', n.nspname, c.relname)) s
   where c.oid = target and s.definition not in (select t.definition from strata.index_statements(target, '') t);
end;

comment on function strata.unmatched_indexes(regclass, regclass) is
  'The statements for those indexes of source that target has not; none when ATTACH of target to source would build nothing.';
--! EndIncluded functions/unmatched_indexes.sql
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
             where c.oid = any (leaves) and o.option_name not in ('fillfactor', 'autovacuum_enabled')
               and (select t.relkind from pg_class t where t.oid = target) = 'r'
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
             order by l.attname, o.option_name, l.attrelid <> source) options
     group by attname
    ) s(place, statement) order by s.place
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.copy_properties(regclass, regclass) is
  'Gives target what CREATE TABLE LIKE leaves out: owner, grants of table and columns, row level security and its policies, comment, storage parameters (not fillfactor), statistics targets and options of columns. Where source is partitioned, what its partitions agree on counts too.';
--! EndIncluded functions/copy_properties.sql
--! Included functions/hand_over.sql
create or replace function strata.hand_over(source regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  leaves  oid[] := coalesce((select array_agg(i.inhrelid) from pg_inherits i where i.inhparent = source), array[source::oid]);
  givers  oid[] := leaves || source::oid;
  whole   text  := (select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = source);
  command text;
begin
  for command in
    select s.statement from (
    select 1 as place, overlay(t.definition placing ' ON ' || target || ' '
             from position(' ON ' || whole || ' ' in t.definition) for length(' ON ' || whole || ' '))
      from (select g.oid, pg_get_triggerdef(g.oid) as definition from pg_trigger g
             where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted') t
    union all
    select 2, format('alter table %s %s trigger %I', target,
             case g.tgenabled when 'A' then 'enable always' when 'R' then 'enable replica' else 'disable' end, g.tgname)
      from pg_trigger g
     where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted' and g.tgenabled <> 'O'
    union all
    select 3, format('drop trigger %I on %s', g.tgname, source)
      from pg_trigger g
     where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted'
    union all
    select 4, format('alter publication %I add table %s%s%s', p.pubname, receiver, m.columns, m.condition)
      from pg_publication p
      join (select distinct on (r.prpubid) r.prpubid,
                   ' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
                             where a.attrelid = r.prrelid and a.attnum = any (r.prattrs::int2[])) || ')' as columns,
                   ' where (' || pg_get_expr(r.prqual, r.prrelid) || ')' as condition
              from pg_publication_rel r where r.prrelid = any (givers) order by r.prpubid, r.prrelid <> source) m on m.prpubid = p.oid
      -- A partitioned table takes a list of columns or a condition only where it is published as one.
      cross join lateral (
        select i.inhrelid::regclass as receiver from pg_inherits i where i.inhparent = target and not p.pubviaroot
        union all
        select target where p.pubviaroot or not exists (select from pg_inherits i where i.inhparent = target)
      ) r
    union all
    select 5, format('alter publication %I drop table %s', p.pubname, string_agg(r.prrelid::regclass::text, ', '))
      from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
     where r.prrelid = any (givers)
     group by p.pubname
    union all
    select 6, format('alter table %s replica identity %s', target,
             case identity.relreplident
               when 'f' then 'full'
               when 'n' then 'nothing'
               when 'i' then 'using index ' || quote_ident(identity.index_name)
               else 'default'
             end)
      from (select c.relreplident,
                   (select tc.relname
                      from pg_index si
                      join pg_index ti on ti.indrelid = target and ti.indisunique and ti.indimmediate
                       and (select array_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = ti.indexrelid)
                         = (select array_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = si.indexrelid)
                      join pg_class tc on tc.oid = ti.indexrelid
                     where si.indrelid = c.oid and si.indisreplident
                     limit 1) as index_name
              from pg_class c where c.oid = any (givers)
             order by c.relreplident = 'd', c.oid <> source limit 1) identity
    ) s(place, statement) order by s.place
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.hand_over(regclass, regclass) is
  'Moves what must act on exactly one of two tables from source to target: triggers of its own with their state, membership of publications, replica identity. Call it in the transaction that swaps them, after the last row was copied: nothing may fire for the copies.';
--! EndIncluded functions/hand_over.sql
--! Included functions/consolidation_obstacles.sql
create or replace function strata.consolidation_obstacles(week regclass) returns table (obstacle text, remedy text)
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
  select 'the set has a DEFAULT partition, which every attach would scan while all queries wait',
         'Move its rows into weeks and drop it; what is out of bounds belongs into strata.quarantine.'
    from pg_partitioned_table t join root r on r.oid = t.partrelid where t.partdefid <> 0
  union all
  select format('the detach of %s was interrupted', i.inhrelid::regclass),
         format('Finish it: ALTER TABLE %s DETACH PARTITION %s FINALIZE;', i.inhparent::regclass, i.inhrelid::regclass)
    from pg_inherits i join root r on r.oid = i.inhparent where i.inhdetachpending
  union all
  select 'the table has no primary key to follow changes by', 'Add a PRIMARY KEY to the parent.'
    from root r where not exists (select from pg_constraint k where k.conrelid = r.oid and k.contype = 'p')
  union all
  select format('the foreign key %I ties %s to other tables', k.conname, k.conrelid::regclass),
         'Drop it: partitions cannot be exchanged under a foreign key without checking every row.'
    from pg_constraint k
   where k.contype = 'f' and k.conparentid = 0 and (k.conrelid in (select oid from involved) or k.confrelid in (select oid from involved))
  union all
  select format('%s has the exclusion constraint %I', k.conrelid::regclass, k.conname), 'Drop it, or leave this set''s weeks as they are.'
    from pg_constraint k where k.contype = 'x' and k.conrelid = week
  union all
  select format('%s is no ordinary, logged table', p.oid::regclass), 'Only ordinary leaves can be merged.'
    from parts p where not p.is_week and (p.relkind <> 'r' or p.relpersistence <> 'p')
  union all
  select format('%s lies in another schema than its week', p.oid::regclass), 'Move it: ALTER TABLE … SET SCHEMA.'
    from parts p where p.nspname <> (select w.nspname from parts w where w.is_week)
  union all
  select format('%s has the trigger %I of its own', g.tgrelid::regclass, g.tgname), 'Create it on the week or on the parent, or drop it.'
    from pg_trigger g join parts p on p.oid = g.tgrelid
   where not p.is_week and not g.tgisinternal and g.tgparentid = 0
  union all
  select format('%s has the index %s of its own', x.indrelid::regclass, x.indexrelid::regclass), 'Create it on the parent, or drop it.'
    from pg_index x join parts p on p.oid = x.indrelid
   where not p.is_week and not exists (select from pg_inherits i where i.inhrelid = x.indexrelid)
  union all
  select format('%s is used by the view or rule of %s', d.refobjid::regclass, w.ev_class::regclass), 'Let it read the parent instead.'
    from pg_depend d
    join pg_rewrite w on w.oid = d.objid
   where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from parts)
   group by d.refobjid, w.ev_class
  union all
  select format('the name %s is too long to derive others from', quote_ident(p.relname)), 'Rename the week: at most 50 bytes.'
    from parts p where p.is_week and octet_length(p.relname) > 50
  union all
  select format('there is a %I.%I already', t.schema_name, t.name),
         case when t.schema_name = 'strata_held' then 'Drop what is held there, or wait until it is due.' else 'Rename or drop it.' end
    from taken t join pg_class c on c.relname = t.name join pg_namespace n on n.oid = c.relnamespace and n.nspname = t.schema_name
  union all
  select format('row level security hides rows of %s from %I', p.oid::regclass, current_user), 'Run maintenance as a role with BYPASSRLS.'
    from parts p where row_security_active(p.oid)
  union all
  select format('%s does not belong to %I', c.oid::regclass, current_user), 'Run maintenance as the owner, or as a member of that role.'
    from pg_class c where c.oid in (select oid from involved) and not pg_has_role(c.relowner, 'usage')
  union all
  select format('%I may not create tables in schema %I', current_user, n.nspname), format('GRANT CREATE ON SCHEMA %I TO %I;', n.nspname, current_user)
    from pg_namespace n
   where (n.nspname = 'strata_held' or n.nspname in (select p.nspname from parts p where p.is_week))
     and not has_schema_privilege(n.oid, 'create')
  union all
  select format('the prepared transaction %s holds locks on %s', quote_literal(x.gid), min(l.relation::regclass::text)),
         format('Commit it or roll it back: ROLLBACK PREPARED %L;', x.gid)
    from pg_prepared_xacts x
    join pg_locks l on l.transactionid = x.transaction or l.virtualtransaction = '-1/' || x.transaction::text
   where x.database = current_database() and l.relation in (select oid from involved)
   group by x.gid;
end;

comment on function strata.consolidation_obstacles(regclass) is
  'Why a week cannot be consolidated now, each with what to do; no row when nothing stands in the way.';
--! EndIncluded functions/consolidation_obstacles.sql
--! Included functions/table_fingerprint.sql
create or replace function strata.table_fingerprint(source regclass) returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
  select md5(jsonb_build_object(
    'columns', (select jsonb_agg(jsonb_build_array(a.attname, a.atttypid::oid, a.atttypmod, a.attcollation::oid, a.attnotnull, a.attgenerated, a.attidentity,
                                                   a.attacl::text, pg_get_expr(d.adbin, d.adrelid)) order by a.attnum)
                  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                 where a.attrelid = source and a.attnum > 0 and not a.attisdropped),
    'constraints', (select jsonb_agg(jsonb_build_array(k.conname, pg_get_constraintdef(k.oid)) order by k.conname)
                      from pg_constraint k where k.conrelid = source),
    'indexes', (select jsonb_agg(pg_get_indexdef(i.indexrelid) order by i.indexrelid) from pg_index i where i.indrelid = source),
    'triggers', (select jsonb_agg(jsonb_build_array(pg_get_triggerdef(g.oid), g.tgenabled) order by g.tgname)
                   from pg_trigger g where g.tgrelid = source and not g.tgisinternal and g.tgname not like 'strata\_%'),
    'policies', (select jsonb_agg(jsonb_build_array(p.polname, p.polcmd, p.polpermissive, p.polroles::text,
                                                    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) order by p.polname)
                   from pg_policy p where p.polrelid = source),
    'table', jsonb_build_array(source::oid, c.relname, c.relnamespace::oid, c.relkind, c.relowner::oid, c.relacl::text, c.relrowsecurity,
                               c.relforcerowsecurity, c.relreplident, c.relhasrules, c.reloptions)
  )::text)
    from pg_class c where c.oid = source;
end;

comment on function strata.table_fingerprint(regclass) is
  'What a table is, but for its rows and the triggers of maintenance, as one value: equal as long as nobody has altered it.';
--! EndIncluded functions/table_fingerprint.sql
--! Included functions/adoption_dependents.sql
create or replace function strata.adoption_dependents(source regclass)
returns table (kind text, name text, locking text, statement text)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
  with readers as (
    select distinct d.classid, d.objid from pg_depend d
     where d.refclassid = 'pg_class'::regclass and d.refobjid = source and d.classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass)
  )
  select s.kind, s.name, s.locking, s.statement from (
    select 1 as place, 'view' as kind, format('%I.%I', n.nspname, v.relname) as name,
           -- Locks the view alone; LOCK TABLE would lock every table it reads.
           format('alter view %I.%I owner to %I', n.nspname, v.relname, pg_get_userbyid(v.relowner)) as locking,
           format('create or replace view %I.%I%s as %s', n.nspname, v.relname,
             ' with (' || (select string_agg(format('%I = %L', o.option_name, o.option_value), ', ') from pg_options_to_table(v.reloptions) o) || ')',
             pg_get_viewdef(v.oid)) as statement
      from readers r
      join pg_rewrite w on r.classid = 'pg_rewrite'::regclass and w.oid = r.objid and w.ev_type = '1'
      join pg_class v on v.oid = w.ev_class and v.relkind = 'v'
      join pg_namespace n on n.oid = v.relnamespace
    union all
    select 2, 'rule', format('%I on %I.%I', w.rulename, n.nspname, v.relname),
           format('alter view %I.%I owner to %I', n.nspname, v.relname, pg_get_userbyid(v.relowner)),
           regexp_replace(pg_get_ruledef(w.oid), '^CREATE RULE', 'CREATE OR REPLACE RULE')
      from readers r
      join pg_rewrite w on r.classid = 'pg_rewrite'::regclass and w.oid = r.objid and w.ev_type <> '1'
      join pg_class v on v.oid = w.ev_class and v.relkind = 'v'
      join pg_namespace n on n.oid = v.relnamespace
    union all
    select 3, 'function', p.oid::regprocedure::text, null, pg_get_functiondef(p.oid)
      from readers r join pg_proc p on r.classid = 'pg_proc'::regclass and p.oid = r.objid and p.prosqlbody is not null
  ) s
  order by s.place, s.name;
end;

comment on function strata.adoption_dependents(regclass) is
  'Views, their rules and functions with an SQL body that are tied to a table itself, not to its name, and the statements that tie them to whatever has its name by then: collect them before it is exchanged, run them afterwards with the same search_path. Grants, owners and what reads these views stay as they are.';
--! EndIncluded functions/adoption_dependents.sql
--! Included functions/adoption_obstacles.sql
create or replace function strata.adoption_obstacles(source regclass, time_column name, hash_column name)
returns table (obstacle text, remedy text)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
  with me as (
    select c.*, n.nspname, format('%I.%I', n.nspname, c.relname) as name, f.nspowner as keeper
      from pg_class c join pg_namespace n on n.oid = c.relnamespace, pg_namespace f
     where c.oid = source and f.nspname = 'strata'
  ),
  wanted as (
    select w.role, w.name as wanted_name, a.attname, a.attnotnull, a.attgenerated, a.attnum, format_type(a.atttypid, a.atttypmod) as type_name, a.atttypid
      from (values ('time', time_column), ('hash', hash_column)) w(role, name)
      left join pg_attribute a on a.attrelid = source and a.attname = w.name and a.attnum > 0 and not a.attisdropped
  ),
  relations as (  -- views and tables whose rewrite rules are tied to the table
    select distinct w.ev_class, v.relkind, v.relowner, format('%I.%I', n.nspname, v.relname) as name
      from pg_depend d
      join pg_rewrite w on w.oid = d.objid
      join pg_class v on v.oid = w.ev_class
      join pg_namespace n on n.oid = v.relnamespace
     where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = source and w.ev_class <> source
  )
  select format('%s is %s', me.name, case me.relkind when 'p' then 'partitioned already' when 'v' then 'a view' when 'm' then 'a materialized view'
                                       when 'f' then 'a foreign table' else 'no table' end) as obstacle,
         case me.relkind when 'p' then 'Put it under management as it is: SELECT strata.create_partition_set(…), if it is partitioned by range of a timestamptz column.'
           else 'Name an ordinary table.' end as remedy
    from me where me.relkind <> 'r'
  union all
  select format('%s belongs to schema %I', me.name, me.nspname), 'Name a table of your own.'
    from me where me.nspname in ('strata', 'strata_held', 'pg_catalog', 'information_schema')
  union all
  select format('%s is %s', me.name, case me.relpersistence when 't' then 'temporary' else 'unlogged' end),
         case me.relpersistence when 't' then 'Copy it to a table that stays.' else format('ALTER TABLE %s SET LOGGED;', me.name) end
    from me where me.relkind = 'r' and me.relpersistence <> 'p'
  union all
  select format('%s belongs to an extension', me.name), 'Leave it to the extension.'
    from me where exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = source and d.deptype = 'e')
  union all
  select format('%s inherits from, or is inherited by, %s', me.name, o.other::regclass),
         format('Separate them: ALTER TABLE %s NO INHERIT %s;', o.child::regclass, o.parent::regclass)
    from me, lateral (select i.inhrelid as child, i.inhparent as parent, case when i.inhrelid = source then i.inhparent else i.inhrelid end as other
                        from pg_inherits i where source in (i.inhrelid, i.inhparent)) o where me.relkind = 'r'
  union all
  select format('%s is a table of type %s', me.name, me.reloftype::regtype), format('ALTER TABLE %s NOT OF;', me.name)
    from me where me.reloftype <> 0
  union all
  select format('%s is not stored as a heap', me.name), format('ALTER TABLE %s SET ACCESS METHOD heap;', me.name)
    from me where me.relkind = 'r' and me.relam <> (select a.oid from pg_am a where a.amname = 'heap')
  union all
  select format('%s has no column %I', me.name, w.wanted_name),
         format('Its columns are %s.', (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
                                         where a.attrelid = source and a.attnum > 0 and not a.attisdropped))
    from me, wanted w where w.attname is null
  union all
  select format('the time column %I is %s, not timestamp with time zone', w.attname, w.type_name),
         case when w.type_name like 'timestamp%' or w.type_name = 'date'
           then format('Say which zone it means: ALTER TABLE %s ALTER COLUMN %I TYPE timestamptz USING %2$I%s AT TIME ZONE ''UTC''; it rewrites the table while everybody waits.',
                       me.name, w.attname, case when w.type_name = 'date' then '::timestamp' end)
           else 'Name a column of type timestamptz, or add one.' end
    from me, wanted w where w.role = 'time' and w.attname is not null and w.atttypid <> 'timestamptz'::regtype
  union all
  select format('column %I may be NULL, so a row may have no place in a week or a hash partition', w.attname),
         format('Fill or delete such rows, then, without stopping anybody: ALTER TABLE %1$s ADD CONSTRAINT %3$I CHECK (%2$I IS NOT NULL) NOT VALID; ALTER TABLE %1$s VALIDATE CONSTRAINT %3$I; ALTER TABLE %1$s ALTER COLUMN %2$I SET NOT NULL; ALTER TABLE %1$s DROP CONSTRAINT %3$I;',
                me.name, w.attname, left(w.attname, 50) || '_given')
    from me, wanted w where w.attname is not null and not w.attnotnull
  union all
  select format('column %I is generated', w.attname), 'Partitions are cut by stored columns only: name another.'
    from wanted w where w.attgenerated <> ''
  union all
  select format('the hash column %I is of type %s, which cannot be hashed', w.attname, w.type_name), 'Name a column of another type.'
    from wanted w
   where w.role = 'hash' and w.attname is not null and not exists (
     select from pg_opclass o join pg_am a on a.oid = o.opcmethod and a.amname = 'hash'
      where o.opcdefault and (o.opcintype = w.atttypid or exists (select from pg_cast x where x.castsource = w.atttypid and x.casttarget = o.opcintype and x.castmethod = 'b' and x.castcontext = 'i')
        or (o.opcintype = 'anyenum'::regtype and (select t.typtype from pg_type t where t.oid = w.atttypid) = 'e')))
  union all
  select 'the time column and the hash column are one and the same', 'Name the column of the account for --hash.' where time_column = hash_column
  union all
  select format('the foreign key %I ties %s to %s', k.conname, k.conrelid::regclass, k.confrelid::regclass),
         format('Drop it: ALTER TABLE %s DROP CONSTRAINT %I;%s', k.conrelid::regclass, k.conname,
           case when k.conrelid = source then ' Adding it to the partitioned table afterwards checks every row.'
             else ' The key of a partitioned table has the time and the hash column, which the other table would need too.' end)
    from pg_constraint k where k.contype = 'f' and source in (k.conrelid, k.confrelid) and k.conparentid = 0
  union all
  select format('the exclusion constraint %I cannot hold over partitions', k.conname), format('Drop it: ALTER TABLE %s DROP CONSTRAINT %I;', me.name, k.conname)
    from me, pg_constraint k join pg_index i on i.indexrelid = k.conindid and i.indisexclusion where k.conrelid = source
  union all
  select format('the constraint %I is NO INHERIT', k.conname), format('Drop it and add it without NO INHERIT: ALTER TABLE %s DROP CONSTRAINT %I;', me.name, k.conname)
    from me, pg_constraint k where k.conrelid = source and k.contype in ('c', 'n') and k.connoinherit
  union all
  select format('the constraint %I was never validated', k.conname), format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', me.name, k.conname)
    from me, pg_constraint k where k.conrelid = source and k.contype in ('c', 'n') and not k.convalidated
  union all
  select format('the index %s is not valid', i.indexrelid::regclass), format('Rebuild or drop it: REINDEX INDEX CONCURRENTLY %s;', i.indexrelid::regclass)
    from pg_index i where i.indrelid = source and not i.indisvalid
  union all
  select format('the rule %I rewrites what is done to %s', w.rulename, me.name), format('Drop it: DROP RULE %I ON %s; triggers are kept.', w.rulename, me.name)
    from me, pg_rewrite w where w.ev_class = source
  union all
  select format('the row trigger %I uses transition tables', g.tgname), 'Make it a statement trigger, or drop it: partitions cannot have such.'
    from pg_trigger g where g.tgrelid = source and not g.tgisinternal and g.tgtype & 1 = 1 and (g.tgoldtable is not null or g.tgnewtable is not null)
  union all
  select format('%s is a materialized view of it', r.name), format('Drop it and create it again afterwards: DROP MATERIALIZED VIEW %s;', r.name)
    from relations r where r.relkind = 'm'
  union all
  select format('a rule of %s is tied to it', r.name), 'Drop the rule.' from relations r where r.relkind not in ('v', 'm')
  union all
  select format('the view %s does not belong to %I', r.name, current_user), 'Run this as the view''s owner, or as a member of that role: the view has to be made again.'
    from relations r where r.relkind = 'v' and not pg_has_role(r.relowner, 'usage')
  union all
  select format('%s counts on its primary key in GROUP BY', w.ev_class::regclass), 'Group by all columns: the key is going to have more.'
    from pg_constraint k
    join pg_depend d on d.refclassid = 'pg_constraint'::regclass and d.refobjid = k.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite w on w.oid = d.objid
   where k.conrelid = source and k.contype = 'p' and not k.conkey @> (select array_agg(w2.attnum) from wanted w2)
   group by w.ev_class
  union all
  select format('%s uses the row type of %s', pg_describe_object(d.classid, d.objid, d.objsubid), me.name), 'Drop it and create it again afterwards, or name its columns there.'
    from me
    join pg_type t on t.oid = me.reltype
    join pg_depend d on d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray) and d.deptype = 'n'
  union all
  select format('the policy %I reads the table itself', p.polname), format('Let a function read it: DROP POLICY %I ON %s;', p.polname, me.name)
    from me, pg_policy p
   where p.polrelid = source and concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) ~* '\mselect\M'
     and position(me.relname in concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))) > 0
  union all
  select format('the policy %I of %s reads it', p.polname, p.polrelid::regclass), format('Drop it and create it again afterwards: DROP POLICY %I ON %s;', p.polname, p.polrelid::regclass)
    from pg_depend d join pg_policy p on p.oid = d.objid
   where d.classid = 'pg_policy'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = source and p.polrelid <> source
   group by p.polname, p.polrelid
  union all
  select format('%s is filled by a subscription', me.name), 'Adopt it at the publisher, or take it out of the subscription.'
    from me where exists (select from pg_subscription_rel s where s.srrelid = source)
  union all
  select format('the publication %I would publish partitions under names that subscribers do not know', p.pubname),
         format('ALTER PUBLICATION %I SET (publish_via_partition_root = true);', p.pubname)
    from pg_publication_rel r join pg_publication p on p.oid = r.prpubid and not p.pubviaroot where r.prrelid = source
  union all
  select format('the replica identity of %s is an index', me.name), format('ALTER TABLE %s REPLICA IDENTITY FULL; or DEFAULT', me.name) from me where me.relreplident = 'i'
  union all
  select format('row level security hides rows of %s from %I', me.name, current_user), 'Run this as a role with BYPASSRLS.' from me where row_security_active(source)
  union all
  select format('%s does not belong to %I', me.name, current_user), 'Run this as its owner, or as a member of that role.' from me where not pg_has_role(me.relowner, 'usage')
  union all
  select format('%I, who owns schema strata and creates the weeks, may not act as %I, who owns %s', pg_get_userbyid(me.keeper), pg_get_userbyid(me.relowner), me.name),
         format('GRANT %I TO %I;', pg_get_userbyid(me.relowner), pg_get_userbyid(me.keeper))
    from me where not pg_has_role(me.keeper, me.relowner, 'member')
  union all
  select format('%I may not create tables in schema %I', pg_get_userbyid(r.role), n.nspname), format('GRANT CREATE ON SCHEMA %I TO %I;', n.nspname, pg_get_userbyid(r.role))
    from me, pg_namespace n,
         lateral (select (select u.oid from pg_roles u where u.rolname = current_user) as role union select me.keeper union select me.relowner) r
   where (n.nspname = me.nspname or n.nspname = 'strata_held' and r.role = (select u.oid from pg_roles u where u.rolname = current_user))
     and not has_schema_privilege(r.role, n.oid, 'create')
  union all
  select format('the prepared transaction %s holds locks on it', quote_literal(x.gid)), format('Commit it or roll it back: ROLLBACK PREPARED %L;', x.gid)
    from pg_prepared_xacts x
    join pg_locks l on l.transactionid = x.transaction or l.virtualtransaction = '-1/' || x.transaction::text
   where x.database = current_database() and l.relation = source
   group by x.gid;
end;

comment on function strata.adoption_obstacles(regclass, name, name) is
  'Why a table cannot be made a managed set, each with what to do; no row when nothing stands in the way. Catalog reads only.';
--! EndIncluded functions/adoption_obstacles.sql
--! Included functions/period_start.sql
create or replace function strata.period_start(grain text, instant timestamptz) returns timestamptz
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return date_bin(
  case grain when 'hour' then interval '1 hour' when 'day' then interval '1 day' end,
  instant, timestamptz '1970-01-01 00:00:00+00');

comment on function strata.period_start(text, timestamptz) is
  'Start of the period (grain hour or day, UTC) that holds the instant: the "timestamp" of its balance row.';
--! EndIncluded functions/period_start.sql
--! Included functions/mark_state_stale.sql
create or replace function strata.mark_state_stale(reason text default 'marked by hand') returns void
language sql
set search_path = pg_catalog, strata, pg_temp
begin atomic
  update strata.balance_status set stale = true, reason = mark_state_stale.reason, changed_at = clock_timestamp();
end;

comment on function strata.mark_state_stale(text) is
  'Says that account_balances_current is not to be trusted: the next fold rebuilds it from history first.';
--! EndIncluded functions/mark_state_stale.sql
--! Included functions/note_state_truncated.sql
create or replace function strata.note_state_truncated() returns trigger
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  perform strata.mark_state_stale(format('%I was truncated', tg_table_name));
  return null;
end
$$;

comment on function strata.note_state_truncated() is
  'Trigger on the leaves of account_balances_current: part of the state is gone, so none of it may seed a fold.';
--! EndIncluded functions/note_state_truncated.sql
--! Included functions/state_is_stale.sql
create or replace function strata.state_is_stale() returns boolean
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if (select s.stale from strata.balance_status s) then
    return true;
  end if;
  -- In two steps: a statement that names account_balances locks every week, and each fold comes through here.
  if exists (select from strata.account_balances_current) then
    return false;
  end if;
  return exists (select from strata.account_balances) or exists (select from strata.account_balances_opening);
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
  update strata.balance_status set stale = false, reason = null, changed_at = clock_timestamp();
  return keys;
end
$$;

comment on function strata.rebuild_state() is
  'Makes account_balances_current anew from the balances and opening rows; returns its keys. Reads all of history: for healing only.';
--! EndIncluded functions/rebuild_state.sql
--! Included functions/heal_state.sql
create or replace function strata.heal_state() returns boolean
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if strata.state_is_stale() then
    -- Held already, but for a state lost since: then this may be a deadlock, which rolls back, and never a wrong balance.
    perform strata.lock_fold();
    if not strata.state_is_stale() then
      return false;
    end if;
    perform strata.rebuild_state();
    return true;
  end if;
  return false;
end
$$;

comment on function strata.heal_state() is
  'Rebuilds the state when it cannot be trusted; says whether it had to. Every fold begins with it.';
--! EndIncluded functions/heal_state.sql
--! Included functions/open_deltas.sql
create or replace function strata.open_deltas() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if to_regclass('pg_temp.balance_deltas') is not null then
    return;
  end if;
  create temp table balance_deltas (
    account_address bytea not null, asset_id bigint not null, period timestamptz not null,
    delta numeric not null, change_count int not null
  ) on commit delete rows;
  create temp table late_deltas (
    account_address bytea not null, asset_id bigint not null, period timestamptz not null,
    delta numeric not null, change_count int not null, state_done boolean not null
  ) on commit delete rows;
  create temp table taken_changes (
    source_id smallint not null, account_address bytea not null, asset_id bigint not null, period timestamptz not null,
    block_num bigint not null, delta numeric not null, change_count int not null
  ) on commit delete rows;
  create temp table taken_blocks (source_id smallint not null, from_block bigint not null, to_block bigint) on commit delete rows;
end
$$;

comment on function strata.open_deltas() is
  'Makes the session''s staging tables for the fold: pg_temp.balance_deltas takes what a transaction adds (change_count 1) or takes back (negated delta, change_count -1). Emptied at each commit.';
--! EndIncluded functions/open_deltas.sql
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
    from pg_temp.late_deltas where not state_done group by account_address, asset_id
   order by account_address, asset_id
  on conflict (account_address, asset_id) do update
    set balance = c.balance + excluded.balance, "timestamp" = greatest(c."timestamp", excluded."timestamp");

  -- Where changes were taken back the newest row may be gone: the state follows what is left, and goes with the last of it.
  with shrunk as materialized (
    select account_address, asset_id from pg_temp.late_deltas
     group by account_address, asset_id having min(change_count) < 0
  ), newest as materialized (
    select k.account_address, k.asset_id, coalesce(r."timestamp", o."timestamp") as "timestamp"
      from shrunk k
      left join lateral (
        select b."timestamp" from strata.account_balances b
         where b.account_address = k.account_address and b.asset_id = k.asset_id and b."timestamp" >= opened
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
end
$$;

comment on function strata.fold_late_state() is
  'The part of fold_deltas() that brings the state of late and shrunk keys in line with their history.';
--! EndIncluded functions/fold_late_state.sql
--! Included functions/fold_late_deltas.sql
create or replace function strata.fold_late_deltas() returns void
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
  excess   record;
begin
  select greatest(min(period), opened), greatest(max(period), opened) into earliest, latest from pg_temp.late_deltas;

  -- What is earlier than the rows that retention has left goes into the opening balance.
  insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
  select account_address, asset_id, sum(delta), max(period)
    from pg_temp.late_deltas where period < opened group by account_address, asset_id
   order by account_address, asset_id
  on conflict (account_address, asset_id) do update
    set balance = o.balance + excluded.balance, "timestamp" = greatest(o."timestamp", excluded."timestamp");

  -- Rows from the first touched period on take the sum of what lies at or before them; periods without a row get one,
  -- seeded from the last row before. Both read the state of before this statement. The bounds are literals, so that the
  -- weeks before the earliest period are pruned when the statement is planned.
  execute format($fold$
    with late as materialized (
      select account_address, asset_id, period, change_count, delta,
             sum(delta) over key as running, lead(period) over key as next_period,
             coalesce(sum(delta) filter (where period < %3$L) over key, 0) as opened
        from pg_temp.late_deltas
      window key as (partition by account_address, asset_id order by period)
    ), added as (
      insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
      select l.account_address, l.asset_id, l.period,
             coalesce(prior.balance + l.running, opening.balance + l.running - l.opened, l.running), l.change_count
        from late l
        left join lateral (
          select b.balance from strata.account_balances b
           where b.account_address = l.account_address and b.asset_id = l.asset_id and b."timestamp" < l.period
             and b."timestamp" >= %3$L
           order by b."timestamp" desc limit 1
        ) prior on true
        left join strata.account_balances_opening opening
          on opening.account_address = l.account_address and opening.asset_id = l.asset_id
       where l.period >= %3$L and not exists (
         select from strata.account_balances b
          where b.account_address = l.account_address and b.asset_id = l.asset_id and b."timestamp" = l.period
            and b."timestamp" between %1$L and %2$L)
       order by l.account_address, l.asset_id, l.period
    )
    update strata.account_balances b
       set balance = b.balance + l.running,
           change_count = b.change_count + case when b."timestamp" = l.period then l.change_count else 0 end
      from late l
     where b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" >= %1$L and b."timestamp" >= l.period
       and (l.next_period is null or b."timestamp" < l.next_period)
  $fold$, earliest, latest, opened);

  execute format($fold$
    delete from strata.account_balances b
     using pg_temp.late_deltas l
     where l.change_count < 0 and b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" = l.period and b."timestamp" between %1$L and %2$L and b.change_count = 0
  $fold$, earliest, latest);

  execute format($fold$
    select b.account_address, b.asset_id, b."timestamp"
      from pg_temp.late_deltas l
      join strata.account_balances b
        on b.account_address = l.account_address and b.asset_id = l.asset_id and b."timestamp" = l.period
     where l.change_count < 0 and b.change_count < 0 and b."timestamp" between %1$L and %2$L limit 1
  $fold$, earliest, latest) into excess;
  if excess.asset_id is not null then
    raise exception 'more changes were taken back than folded: account %, asset %, period %',
      strata.account_text(excess.account_address), excess.asset_id, excess."timestamp"
      using errcode = 'integrity_constraint_violation', hint = 'Run pgstrata verify, then pgstrata rebuild for the keys it names.';
  end if;

  perform strata.fold_late_state();
end
$$;

comment on function strata.fold_late_deltas() is
  'The part of fold_deltas() for keys whose history is touched: late changes and changes taken back. Cost follows the rows behind the earliest touched period of those keys.';
--! EndIncluded functions/fold_late_deltas.sql
--! Included functions/lock_fold.sql
create or replace function strata.lock_fold(hash_partition int default null) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  -- A state that must be rebuilt is rebuilt whole, so nobody may fold a part of it meanwhile.
  if strata.state_is_stale() then
    hash_partition := null;
  end if;
  -- Whoever folds everything takes all locks, in order: nobody waits for a lock while holding a later one.
  for partition in coalesce(hash_partition, 0) .. coalesce(hash_partition, 3) loop
    perform pg_advisory_xact_lock(hashtextextended('pgstrata fold ' || partition, 0));
  end loop;
end
$$;

comment on function strata.lock_fold(int) is
  'One fold at a time for the accounts of a hash partition (0 to 3) of the state, or of all of them, until the transaction ends: the rows of a key are then read and written in one order, without deadlocks.';
--! EndIncluded functions/lock_fold.sql
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
  insert into pg_temp.balance_deltas (account_address, asset_id, period, delta, change_count)
  select t.account_address, t.asset_id, t.period, sum(t.delta), sum(t.change_count)
    from pg_temp.taken_changes t
    join strata.fold_progress p on p.source_id = t.source_id and t.block_num <= p.folded_block
     and satisfies_hash_partition('strata.account_balances_current'::regclass, 4, p.hash_partition, t.account_address)
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
--! Included functions/fold_deltas.sql
create or replace function strata.fold_deltas(hash_partition int default null) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
-- The state is looked up by key, never read whole, whatever the planner believes of staging tables without statistics.
set enable_seqscan = off
as $$
declare
  folded  bigint;
  unfit   bigint;
  opened  timestamptz;
begin
  perform strata.lock_fold(hash_partition);
  perform strata.heal_state();
  if hash_partition is null then
    perform strata.stage_taken_back();
  end if;
  select s.opened_before into strict opened from strata.balance_status s;

  -- Appends, the usual case: the state row takes the sum and hands back the balance from which the periods' rows follow.
  -- History is only written, never read, so the cost does not depend on how much of it there is.
  with by_period as materialized (
    select account_address, asset_id, period, sum(delta) as delta, sum(change_count)::int as change_count
      from pg_temp.balance_deltas group by account_address, asset_id, period
  ), by_key as materialized (
    select account_address, asset_id, min(period) as first, max(period) as last, sum(delta) as total,
           min(change_count) > 0 as grows
      from by_period group by account_address, asset_id
  ), before as materialized (
    -- A key with one period needs no look-up: its state comes back later than that period only if it was so before.
    select k.*, case when k.first < k.last then (
             select c."timestamp" from strata.account_balances_current c
              where c.account_address = k.account_address and c.asset_id = k.asset_id) end as newest
      from by_key k
     where k.grows
  ), state as (
    insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
    select account_address, asset_id, total, last from before order by account_address, asset_id
    on conflict (account_address, asset_id) do update
      set balance = c.balance + excluded.balance, "timestamp" = greatest(c."timestamp", excluded."timestamp")
    returning c.account_address, c.asset_id, c.balance, c."timestamp"
  ), appended as materialized (
    select k.account_address, k.asset_id, k.total, s.balance,
           s."timestamp" = k.last and (k.newest is null or k.newest <= k.first) and k.first >= opened as at_head
      from state s join before k using (account_address, asset_id)
  ), written as (
    insert into strata.account_balances as b (account_address, asset_id, "timestamp", balance, change_count)
    select p.account_address, p.asset_id, p.period,
           a.balance - a.total + sum(p.delta) over (partition by p.account_address, p.asset_id order by p.period),
           p.change_count
      from by_period p join appended a using (account_address, asset_id)
     where a.at_head
     order by p.account_address, p.asset_id, p.period
    on conflict (account_address, asset_id, "timestamp") do update
      set balance = excluded.balance, change_count = b.change_count + excluded.change_count
    returning 1
  ), left_over as (
    insert into pg_temp.late_deltas (account_address, asset_id, period, delta, change_count, state_done)
    select p.account_address, p.asset_id, p.period, p.delta, p.change_count, a.at_head is not null
      from by_period p left join appended a using (account_address, asset_id)
     where a.at_head is not true and (p.delta <> 0 or p.change_count <> 0)
    returning 1
  )
  select (select count(*) from written), (select count(*) from left_over) into folded, unfit;

  if unfit > 0 then
    perform strata.fold_late_deltas();
  end if;
  -- A transaction may fold more than once.
  delete from pg_temp.balance_deltas;
  delete from pg_temp.late_deltas;
  return folded + unfit;
end
$$;

comment on function strata.fold_deltas(int) is
  'Folds pg_temp.balance_deltas into account_balances and account_balances_current inside the caller''s transaction; returns the rows touched. Afterwards every balance equals a full recompute. Weeks of the periods must exist. With a hash partition, all deltas are of its accounts, and other partitions may be folded at the same time.';
--! EndIncluded functions/fold_deltas.sql
--! Included functions/fold_week.sql
create or replace function strata.fold_week(week_start timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
-- Most keys of the state take part: reading it whole beats a look-up per key.
set enable_nestloop = off
as $$
declare
  lower_bound timestamptz := strata.week_start(week_start);
  upper_bound timestamptz := strata.week_start(week_start) + interval '168 hours';
  behind      boolean;
  folded      bigint;
begin
  perform strata.share_gates('account_balances');
  perform strata.lock_fold();
  perform strata.heal_state();
  execute format($check$
    select exists (
      select from strata.account_balances b join strata.assets a on a.asset_id = b.asset_id and not a.observed
       where b."timestamp" >= %L)
  $check$, lower_bound) into behind;
  if behind then
    raise exception 'there are balances at or behind the week of % already', lower_bound
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Whole weeks are folded in order into empty weeks; fold_changes() folds into what is there.';
  end if;
  perform strata.ensure_weeks('account_balances', lower_bound, lower_bound);

  -- One pass over the week: aggregate, sum along each key, on top of the state; rows arrive in key order, which the
  -- b-trees of the empty week take at the speed of building them.
  execute format($fold$
    with by_period as materialized (
      select c.account_address, c.asset_id,
             date_bin(case a.grain when 'hour' then interval '1 hour' else interval '1 day' end, c.block_time,
                      timestamptz '1970-01-01 00:00:00+00') as period,
             sum(c.delta) as delta, count(*)::int as change_count
        from strata.balance_changes c join strata.assets a on a.asset_id = c.asset_id
       where c.block_time >= %1$L and c.block_time < %2$L
       group by 1, 2, 3
    ), rows as materialized (
      select p.account_address, p.asset_id, p.period, p.change_count,
             coalesce(s.balance, 0) + sum(p.delta) over (partition by p.account_address, p.asset_id order by p.period) as balance,
             lead(p.period) over (partition by p.account_address, p.asset_id order by p.period) is null as newest
        from by_period p
        left join strata.account_balances_current s on s.account_address = p.account_address and s.asset_id = p.asset_id
    ), state as (
      insert into strata.account_balances_current as s (account_address, asset_id, balance, "timestamp")
      select account_address, asset_id, balance, period from rows where newest
      on conflict (account_address, asset_id) do update set balance = excluded.balance, "timestamp" = excluded."timestamp"
    )
    insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
    select account_address, asset_id, period, balance, change_count from rows
  $fold$, lower_bound, upper_bound);
  get diagnostics folded = row_count;
  return folded;
end
$$;

comment on function strata.fold_week(timestamptz) is
  'Folds a whole week of changes, of all sources, into balances that do not reach that week yet; returns the balance rows written. The bulk form of fold_deltas(): weeks in order give the same tables. None of these changes may have been folded before.';
--! EndIncluded functions/fold_week.sql
--! Included functions/take_back_changes.sql
create or replace function strata.take_back_changes(source_id smallint, from_block bigint, to_block bigint, min_time timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  taken bigint;
begin
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
      select %1$s, g.account_address, g.asset_id, strata.period_start(st.grain, g.block_time), g.block_num, -sum(g.delta), -count(*)
        from gone g
        join strata.sources src on src.source_id = %1$s
        join strata.streams st on st.stream = src.stream
       group by 2, 3, 4, 5
    )
    select count(*) from gone
  $take$, source_id, from_block, to_block, coalesce(min_time, '-infinity')) into taken;
  insert into pg_temp.taken_blocks values (take_back_changes.source_id, take_back_changes.from_block, take_back_changes.to_block);
  return taken;
end
$$;

comment on function strata.take_back_changes(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s changes of blocks from_block to to_block (both inclusive; null is open) and keeps them for fold_deltas(), which takes those that were folded back from the balances; call it before the commit. No change of these blocks may be earlier than min_time. Returns the changes deleted.';
--! EndIncluded functions/take_back_changes.sql
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
end
$$;

comment on function strata.stage_changes(smallint, bigint, bigint, int) is
  'Stages the stored changes of a source''s blocks (both inclusive), of all accounts or of one hash partition of the state, for fold_deltas().';
--! EndIncluded functions/stage_changes.sql
--! Included functions/fold_changes.sql
create or replace function strata.fold_changes(source_id smallint, from_block bigint, to_block bigint) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  perform strata.share_gates('account_balances');
  perform strata.stage_changes(source_id, from_block, to_block);
  return strata.fold_deltas();
end
$$;

comment on function strata.fold_changes(smallint, bigint, bigint) is
  'Folds the stored changes of a source''s blocks (both inclusive) into balances; returns the rows touched. For changes that were loaded without being folded: fold_progress tells which those are, fold_pending() goes by it.';
--! EndIncluded functions/fold_changes.sql
--! Included functions/open_snapshots.sql
create or replace function strata.open_snapshots() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if to_regclass('pg_temp.snapshot_stage') is not null then
    return;
  end if;
  create temp table snapshot_stage (
    account_address bytea not null, asset_id bigint not null, observed_at timestamptz not null, block_num bigint not null,
    ordinal int not null, source_id smallint not null, balance numeric not null, usd_value numeric, data jsonb
  ) on commit delete rows;
  create temp table snapshot_touched (
    account_address bytea not null, asset_id bigint not null, first timestamptz not null, shrinks boolean not null
  ) on commit delete rows;
  create temp table snapshot_keys (
    account_address bytea not null, asset_id bigint not null, first timestamptz not null, shrinks boolean not null,
    state_time timestamptz, known boolean not null default false, balance numeric, usd_value numeric, data jsonb
  ) on commit delete rows;
  create temp table snapshot_periods (
    account_address bytea not null, asset_id bigint not null, period timestamptz not null,
    balance numeric not null, usd_value numeric, data jsonb, stored boolean not null,
    primary key (account_address, asset_id, period)
  ) on commit delete rows;
end
$$;

comment on function strata.open_snapshots() is
  'Makes the session''s staging tables for snapshots: pg_temp.snapshot_stage takes the rows of a transaction, the others are what fold_snapshots() works with. Emptied at each commit.';
--! EndIncluded functions/open_snapshots.sql
--! Included functions/store_snapshots.sql
create or replace function strata.store_snapshots(grain text) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  stored bigint;
begin
  insert into strata.snapshot_rows (account_address, asset_id, observed_at, block_num, ordinal, source_id, balance, usd_value, data)
  select account_address, asset_id, observed_at, block_num, ordinal, source_id, balance, usd_value, data
    from pg_temp.snapshot_stage order by account_address, asset_id, observed_at;
  get diagnostics stored = row_count;
  insert into pg_temp.snapshot_touched (account_address, asset_id, first, shrinks)
  select account_address, asset_id, strata.period_start(store_snapshots.grain, min(observed_at)), false
    from pg_temp.snapshot_stage group by account_address, asset_id;
  delete from pg_temp.snapshot_stage;
  return stored;
end
$$;

comment on function strata.store_snapshots(text) is
  'Moves pg_temp.snapshot_stage into snapshot_rows and notes whose balances it touches; the caller calls fold_snapshots() before it commits. Returns the rows moved.';
--! EndIncluded functions/store_snapshots.sql
--! Included functions/take_back_snapshots.sql
create or replace function strata.take_back_snapshots(source_id smallint, from_block bigint, to_block bigint, min_time timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  taken bigint;
begin
  if min_time < (select s.observations_from from strata.balance_status s) then
    raise exception 'a reorg reaches back to snapshots of %, which are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state', hint = 'Retain more weeks of snapshot_rows than reorgs are deep.';
  end if;
  perform strata.open_snapshots();
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
--! Included functions/find_prior_snapshots.sql
create or replace function strata.find_prior_snapshots(earliest timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  latest timestamptz;
begin
  -- A key that is observed regularly has its last snapshot nearby: the literal bounds leave two or three weeks to look into.
  execute format($near$
    update pg_temp.snapshot_keys k set known = true, balance = n.balance, usd_value = n.usd_value, data = n.data
      from pg_temp.snapshot_keys t
     cross join lateral (
       select r.balance, r.usd_value, r.data from strata.snapshot_rows r
        where r.account_address = t.account_address and r.asset_id = t.asset_id and r.observed_at < t.first
          and r.observed_at >= %1$L and r.observed_at < %2$L
        order by r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc limit 1
     ) n
     where k.ctid = t.ctid
  $near$, strata.week_start(earliest) - interval '7 days', (select max(k.first) from pg_temp.snapshot_keys k));

  -- Others have it in their balances, however far back: what was not stored since was the same.
  select max(k.first) into latest from pg_temp.snapshot_keys k where not k.known and k.state_time is not null;
  if latest is not null then
    execute format($far$
      update pg_temp.snapshot_keys k set known = true, balance = n.balance, usd_value = n.usd_value, data = n.data
        from pg_temp.snapshot_keys t
       cross join lateral (
         select b.balance, b.usd_value, b.data from strata.account_balances b
          where b.account_address = t.account_address and b.asset_id = t.asset_id and b."timestamp" < t.first
            and b."timestamp" <= t.state_time and b."timestamp" < %1$L
          order by b."timestamp" desc limit 1
       ) n
       where k.ctid = t.ctid and not t.known and t.state_time is not null
    $far$, latest);
  end if;
end
$$;

comment on function strata.find_prior_snapshots(timestamptz) is
  'The part of fold_snapshots() that finds, for each key, the observation before its first touched period, to tell changes from repetitions.';
--! EndIncluded functions/find_prior_snapshots.sql
--! Included functions/fold_snapshot_state.sql
create or replace function strata.fold_snapshot_state() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  latest timestamptz;
begin
  insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
  select k.account_address, k.asset_id, n.balance, n.period
    from pg_temp.snapshot_keys k
   cross join lateral (
     select p.period, p.balance from pg_temp.snapshot_periods p
      where p.account_address = k.account_address and p.asset_id = k.asset_id and p.stored
      order by p.period desc limit 1
   ) n
   order by k.account_address, k.asset_id
  on conflict (account_address, asset_id) do update
    set balance = excluded.balance, "timestamp" = excluded."timestamp"
    where (c.balance, c."timestamp") is distinct from (excluded.balance, excluded."timestamp");

  -- Keys that lost all rows from their first touched period on fall back to the row before, to their opening, or go.
  delete from pg_temp.snapshot_keys k
   where k.state_time is null or k.state_time < k.first
      or exists (
        select from pg_temp.snapshot_periods p
         where p.account_address = k.account_address and p.asset_id = k.asset_id and p.stored);
  select max(k.first) into latest from pg_temp.snapshot_keys k;
  if latest is null then
    return;
  end if;
  execute format($fall$
    with fallen as materialized (
      select k.account_address, k.asset_id,
             case when b."timestamp" is null then o.balance else b.balance end as balance, coalesce(b."timestamp", o."timestamp") as "timestamp"
        from pg_temp.snapshot_keys k
        left join lateral (
          select b."timestamp", b.balance from strata.account_balances b
           where b.account_address = k.account_address and b.asset_id = k.asset_id and b."timestamp" < k.first and b."timestamp" < %1$L
           order by b."timestamp" desc limit 1
        ) b on true
        left join strata.account_balances_opening o on o.account_address = k.account_address and o.asset_id = k.asset_id
    ), gone as (
      delete from strata.account_balances_current c using fallen f
       where c.account_address = f.account_address and c.asset_id = f.asset_id and f."timestamp" is null
    )
    update strata.account_balances_current c set balance = f.balance, "timestamp" = f."timestamp"
      from fallen f
     where c.account_address = f.account_address and c.asset_id = f.asset_id and f."timestamp" is not null
  $fall$, latest);
end
$$;

comment on function strata.fold_snapshot_state() is
  'The part of fold_snapshots() that brings the state in line: the newest stored balance of each touched key, or none.';
--! EndIncluded functions/fold_snapshot_state.sql
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
  perform strata.lock_fold();
  perform strata.heal_state();

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
  return folded;
end
$$;

comment on function strata.fold_snapshots(text, boolean) is
  'Derives account_balances and the state from snapshot_rows for the keys that this transaction stored or took back, from the first touched period on; returns the rows written. The latest observation of a period is its row; with only_changes only where balance, usd_value or data differ from the period before. The result does not depend on the order of arrival.';
--! EndIncluded functions/fold_snapshots.sql
--! Included functions/note_snapshots_dropped.sql
create or replace function strata.note_snapshots_dropped(cutoff timestamptz) returns void
language sql
set search_path = pg_catalog, strata, pg_temp
begin atomic
  update strata.balance_status set observations_from = greatest(observations_from, cutoff), changed_at = clock_timestamp();
end;

comment on function strata.note_snapshots_dropped(timestamptz) is
  'Says that rows of snapshot_rows before the cutoff are gone: the balances they made stay as they are, and later arrivals of that time are quarantined.';
--! EndIncluded functions/note_snapshots_dropped.sql
--! Included functions/advance_fold.sql
create or replace function strata.advance_fold(source_id smallint, hash_partition int, folded_block bigint) returns void
language sql
set search_path = pg_catalog, strata, pg_temp
begin atomic
  insert into strata.fold_progress as p (source_id, hash_partition, folded_block)
  select advance_fold.source_id, h, advance_fold.folded_block
    from generate_series(coalesce(advance_fold.hash_partition, 0), coalesce(advance_fold.hash_partition, 3)) h
  on conflict on constraint fold_progress_pkey do update
    -- A span before what is folded may come later: it must not make that look unfolded.
    set folded_block = greatest(p.folded_block, excluded.folded_block), updated_at = clock_timestamp();
end;

comment on function strata.advance_fold(smallint, int, bigint) is
  'Says that all stored changes of a source up to a block are folded, for a hash partition of the state or (null) for all four.';
--! EndIncluded functions/advance_fold.sql
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
    select b.start_block, b.end_block, b.row_count,
           b.start_block = coalesce(lag(b.end_block) over (order by b.start_block), done.block) + 1 as adjacent,
           sum(b.row_count) over (order by b.start_block) - b.row_count as rows_before
      from strata.stream_batches b, done
     where b.source_id = next_fold.source_id and b.start_block > done.block
  ), unbroken as (
    select w.*, bool_and(w.adjacent) over (order by w.start_block) as whole from waiting w
  )
  select min(u.start_block), max(u.end_block), sum(u.row_count)::bigint
    from unbroken u where (u.whole or across_gaps) and u.rows_before < rows_max;
end;

comment on function strata.next_fold(smallint, int, bigint, boolean) is
  'The next blocks of a source to fold for a hash partition of the state: behind what is folded, up to the first gap of the ledger (or across gaps: what fills one later is folded with its commit), about rows_max changes. Nulls when nothing waits.';
--! EndIncluded functions/next_fold.sql
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
begin
  perform strata.share_gates('account_balances');
  perform strata.lock_fold(hash_partition);
  select n.* into next from strata.next_fold(source_id, hash_partition, rows_max, across_gaps) n;
  if next.to_block is null then
    return;
  end if;
  perform strata.stage_changes(source_id, next.from_block, next.to_block, hash_partition);
  perform strata.fold_deltas(hash_partition);
  perform strata.advance_fold(source_id, hash_partition, next.to_block);
  to_block := next.to_block;
  row_count := next.row_count;
end
$$;

comment on function strata.fold_pending(smallint, int, bigint, boolean) is
  'Folds the next loaded but not yet folded changes of a source for one hash partition of the state (0 to 3), in block order, up to the first gap unless told to go across; says how far it came, nulls when nothing waited. Four callers may work side by side, one per partition.';
--! EndIncluded functions/fold_pending.sql
--! Included functions/carry_forward_openings.sql
create or replace function strata.carry_forward_openings(cutoff timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  keys bigint;
begin
  perform strata.lock_fold();
  execute format($carry$
    insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
    select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
      from strata.account_balances where "timestamp" < %L and "timestamp" >= %L
     order by account_address, asset_id, "timestamp" desc
    on conflict (account_address, asset_id) do update
      set balance = excluded.balance, "timestamp" = excluded."timestamp"
      where o."timestamp" <= excluded."timestamp"
  $carry$, cutoff, (select s.opened_before from strata.balance_status s));
  get diagnostics keys = row_count;
  update strata.balance_status set opened_before = greatest(opened_before, cutoff);
  return keys;
end
$$;

comment on function strata.carry_forward_openings(timestamptz) is
  'Writes the balance of every key at the cutoff into account_balances_opening; returns the keys written. Retention calls it, in the transaction that detaches the weeks before the cutoff.';
--! EndIncluded functions/carry_forward_openings.sql
--! Included functions/note_changes_dropped.sql
create or replace function strata.note_changes_dropped(cutoff timestamptz) returns void
language sql
set search_path = pg_catalog, strata, pg_temp
begin atomic
  update strata.balance_status set changes_from = greatest(changes_from, cutoff), changed_at = clock_timestamp();
end;

comment on function strata.note_changes_dropped(timestamptz) is
  'Says that balance changes before the cutoff are gone: verify and rebuild start there, from the balances that were stored by then.';
--! EndIncluded functions/note_changes_dropped.sql
--! Included functions/recompute_floor.sql
create or replace function strata.recompute_floor() returns timestamptz
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select greatest(s.opened_before, s.changes_from) from strata.balance_status s;
end;

comment on function strata.recompute_floor() is
  'The instant from which balances can be recomputed from changes: earlier balances or changes were dropped by retention. -infinity while nothing was.';
--! EndIncluded functions/recompute_floor.sql
--! Included functions/sample_predicate.sql
create or replace function strata.sample_predicate(relation text, one_in int) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return case
  when one_in <= 1 then 'true'
  else format('mod((''x'' || substr(md5(%I.account_address), 1, 7))::bit(28)::int, %s) = 0', relation, one_in)
end;

comment on function strata.sample_predicate(text, int) is
  'SQL condition that holds for one in so many accounts of a relation, the same ones each time; as text, because called per row a function costs more than what it chooses.';
--! EndIncluded functions/sample_predicate.sql
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
           '(%1$I.source_id <> %2$s or %1$I.block_num <= %3$s or (%1$I.block_num <= %4$s and exists (select from strata.fold_progress p'
           ' where p.source_id = %2$s and %1$I.block_num <= p.folded_block and satisfies_hash_partition('
           '''strata.account_balances_current''::regclass, 4, p.hash_partition, %1$I.account_address))))',
           relation, w.source_id, w.whole, w.partly), ' and '), 'true')
    from waiting w;
end;

comment on function strata.folded_predicate(text) is
  'SQL condition that holds for the balance changes of a relation that are folded; as text, because it is simply true while nothing waits. What is loaded but waits for fold_pending() is in no balance yet, and must not be expected there.';
--! EndIncluded functions/folded_predicate.sql
--! Included functions/recompute_balances.sql
create or replace function strata.recompute_balances(account bytea, asset bigint, since timestamptz, one_in int default 1)
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
    (select s.opened_before from strata.balance_status s), strata.folded_predicate('c'));
end
$$;

comment on function strata.recompute_balances(bytea, bigint, timestamptz, int) is
  'What account_balances ought to hold from an instant on (a period''s start): summed from the folded changes, on top of the last balance before. For all keys, or those of an account, an asset, both, or one in so many accounts. The reference of verify and rebuild.';
--! EndIncluded functions/recompute_balances.sql
--! Included functions/rebuild_balances.sql
create or replace function strata.rebuild_balances(
  account bytea default null, asset bigint default null, from_time timestamptz default null
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
  perform strata.share_gates('account_balances');
  perform strata.lock_fold();
  -- Asked under the lock: retention may have dropped weeks while we waited for it.
  since := date_bin(interval '1 day', greatest(from_time, strata.recompute_floor()), timestamptz '1970-01-01 00:00:00+00');  -- a whole period of either grain
  -- Observed balances have no changes to be made from again.
  execute format('delete from strata.account_balances where "timestamp" >= %L%s
                     and asset_id not in (select a.asset_id from strata.assets a where a.observed)', since, keyed);
  execute format($rebuild$
    insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
    select account_address, asset_id, "timestamp", balance, change_count
      from strata.recompute_balances(%L, %L, %L)
     order by account_address, asset_id, "timestamp"
  $rebuild$, account, asset, since);
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
  return rebuilt;
end
$$;

comment on function strata.rebuild_balances(bytea, bigint, timestamptz) is
  'Recomputes balances from the changes: of one account, of one asset, of both or of everything, from an instant on; the state follows. Observed balances stay as they are. Returns the rows written.';
--! EndIncluded functions/rebuild_balances.sql
--! Included functions/balance_at.sql
create or replace function strata.balance_at(account bytea, asset bigint, instant timestamptz) returns numeric
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  observed boolean := coalesce((select a.observed from strata.assets a where a.asset_id = asset), false);
  period   timestamptz := strata.period_start((select a.grain from strata.assets a where a.asset_id = asset), instant);
  floor    timestamptz;
  dropped  timestamptz;
  opened   timestamptz;
  result   numeric;
  within   numeric;
begin
  select min(p.lower_bound) into floor from strata.set_partitions(case when observed then 'snapshot_rows' else 'balance_changes' end) p;
  select case when observed then s.observations_from else s.changes_from end, s.opened_before into dropped, opened
    from strata.balance_status s;
  -- A late row may have made an old week anew, without the changes that were dropped with it.
  if floor is null or greatest(floor, dropped) > period then
    period := instant + interval '1 microsecond';  -- changes of that time are gone: exact to the period, not to the instant
  end if;
  if observed then
    execute format($read$
      select r.balance from strata.snapshot_rows r
       where r.account_address = %L and r.asset_id = %s and r.observed_at between %L and %L
       order by r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc limit 1
    $read$, account, asset, period, instant) into result;
    if result is not null then
      return result;
    end if;
  end if;
  execute format($read$
    select coalesce(
      (select b.balance from strata.account_balances b
        where b.account_address = %1$L and b.asset_id = %2$s and b."timestamp" < %3$L
          and b."timestamp" >= %5$L order by b."timestamp" desc limit 1),
      (select o.balance from strata.account_balances_opening o
        where o.account_address = %1$L and o.asset_id = %2$s and o."timestamp" < %3$L),
      0),
      (select coalesce(sum(c.delta), 0) from strata.balance_changes c
        where c.account_address = %1$L and c.asset_id = %2$s and c.block_time between %3$L and %4$L)
  $read$, account, asset, period, instant, case when period >= opened then opened else '-infinity' end) into result, within;
  return result + within;
end
$$;

comment on function strata.balance_at(bytea, bigint, timestamptz) is
  'Balance of an account in an asset at an instant, its changes at that very instant included: the last period before, plus the changes since; of an observed balance the last snapshot. Where those changes or snapshots are no longer retained it is the balance at the end of the period.';
--! EndIncluded functions/balance_at.sql
--! Included functions/verify_rows.sql
create or replace function strata.verify_rows(one_in int default 1)
returns table (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric, change_count int)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
declare
  since timestamptz := strata.recompute_floor();
begin
  return query execute format($verify$
    with stored as materialized (
      select b.account_address, b.asset_id, b."timestamp", b.balance, b.change_count
        from strata.account_balances b
       where b."timestamp" >= %1$L and %2$s
         and not exists (select from strata.assets a where a.asset_id = b.asset_id and a.observed)
    ), recomputed as materialized (
      select r.account_address, r.asset_id, r."timestamp", r.balance, r.change_count
        from strata.recompute_balances(null, null, %1$L, %3$s) r
    )
    select 'stored but not recomputed', d.* from (table stored except table recomputed) d
    union all
    select 'recomputed but not stored', d.* from (table recomputed except table stored) d
  $verify$, since, strata.sample_predicate('b', one_in), one_in);
end
$$;

comment on function strata.verify_rows(int) is
  'Balance rows that differ from a full recompute, both ways; one_in takes a sample of accounts. No row means that all are right.';
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
        select s.asset_id, s.balance as amount from strata.account_balances_current s
        union all
        -- One half of a transfer may be folded before the other: what waits belongs to the sum.
        select c.asset_id, c.delta from strata.balance_changes c where not (%s)
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
  $verify$, since, observed);
end
$$;

comment on function strata.verify_ledger() is
  'Sources whose ledger counts other balance changes or snapshots than are stored. Where weeks of them were dropped, only batches wholly behind them are counted.';
--! EndIncluded functions/verify_ledger.sql
--! Included views/stream_positions.sql
create or replace view strata.stream_positions as
select s.stream, src.network, src.source_id, s.load, s.target,
       last.end_block as position, last.hash, last.block_time,
       sums.batches, sums.row_count, sums.quarantined, sums.first_block, sums.last_commit
  from strata.streams s
  left join strata.sources src on src.stream = s.stream
  left join lateral (
    select end_block, hash, block_time from strata.stream_batches b
     where b.source_id = src.source_id order by start_block desc limit 1
  ) last on true
  left join lateral (
    select count(*) as batches, sum(row_count)::bigint as row_count, sum(quarantined)::bigint as quarantined,
           min(start_block) as first_block, max(committed_at) as last_commit
      from strata.stream_batches b where b.source_id = src.source_id
  ) sums on true;

comment on view strata.stream_positions is 'Where each stream stands on each network: the last committed block, and what was loaded so far';
--! EndIncluded views/stream_positions.sql
--! Included views/balances.sql
create or replace view strata.balances as
select strata.account_text(b.account_address) as account, a.network, coalesce(a.symbol, a.asset_key) as asset, a.token_id,
       b."timestamp", b.balance * power(10::numeric, -coalesce(a.decimals, 0)) as amount, b.balance, b.balance < 0 as negative,
       b.change_count, b.usd_value, b.data, b.account_address, b.asset_id
  from strata.account_balances b
  join strata.assets a using (asset_id)
 where b.account_address <> '\x0000000000000000000000000000000000000000';

comment on view strata.balances is
  'Balances as people read them: text account, symbol, amount scaled by the asset''s decimals, a flag for negative ones. One row per period with a change. Filter by account_address = strata.account(''0x…'') and "timestamp": both prune. The zero address is hidden.';
--! EndIncluded views/balances.sql
--! Included views/balances_current.sql
create or replace view strata.balances_current as
select strata.account_text(c.account_address) as account, a.network, coalesce(a.symbol, a.asset_key) as asset, a.token_id,
       c.balance * power(10::numeric, -coalesce(a.decimals, 0)) as amount, c.balance, c.balance < 0 as negative,
       c."timestamp" as changed_in, c.account_address, c.asset_id
  from strata.account_balances_current c
  join strata.assets a using (asset_id)
 where c.account_address <> '\x0000000000000000000000000000000000000000';

comment on view strata.balances_current is
  'The newest balance of every account and asset, as people read it; changed_in is the period of its last change. The zero address is hidden.';
--! EndIncluded views/balances_current.sql
--! Included views/balance_history.sql
create or replace view strata.balance_history as
select account_address, asset_id, "timestamp", balance, change_count, false as opening from strata.account_balances
union all
select account_address, asset_id, "timestamp", balance, 0, true from strata.account_balances_opening;

comment on view strata.balance_history is
  'Every stored balance of a key in time, begun with the opening row that retention carried forward (opening = true).';
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
  revoke all on all functions in schema strata from public;
  grant usage on schema strata to strata_reader, strata_loader, strata_maintainer;
  grant select on all tables in schema strata to strata_reader, strata_loader, strata_maintainer;
  grant execute on all functions in schema strata to strata_loader, strata_maintainer;
  grant execute on function strata.account(text), strata.account_text(bytea), strata.asset_id(text, text, text, numeric),
    strata.week_start(timestamptz), strata.week_name(text, timestamptz), strata.partition_bounds(regclass), strata.set_partitions(text),
    strata.period_start(text, timestamptz), strata.balance_at(bytea, bigint, timestamptz), strata.sample_predicate(text, int),
    strata.recompute_floor(), strata.recompute_balances(bytea, bigint, timestamptz, int), strata.verify_rows(int),
    strata.verify_state(int), strata.verify_sums(), strata.verify_snapshots(int), strata.verify_ledger()
    to strata_reader;
  grant insert, update, delete on strata.streams, strata.sources, strata.stream_batches, strata.quarantine, strata.assets,
    strata.balance_changes, strata.account_balances, strata.account_balances_current, strata.snapshot_rows,
    strata.fold_progress, strata.balance_status to strata_loader;
  grant usage on all sequences in schema strata to strata_loader, strata_maintainer;
  grant usage, create on schema strata, strata_held to strata_maintainer;
  grant insert, update, delete on strata.partition_sets, strata.account_balances_opening, strata.maintenance_runs,
    strata.consolidations, strata.held_partitions, strata.adoptions to strata_maintainer;
end
$$;

comment on function strata.grant_roles() is
  'Creates the group roles strata_reader, strata_loader and strata_maintainer where the caller may, and grants each the least it needs. Safe to run again.';
--! EndIncluded functions/grant_roles.sql

select strata.create_partition_set('balance_changes', 'strata.balance_changes', 'block_time', 'account_address');
select strata.create_partition_set('account_balances', 'strata.account_balances', 'timestamp', 'account_address');
select strata.create_partition_set('snapshot_rows', 'strata.snapshot_rows', 'observed_at', 'account_address');
update strata.partition_sets set consolidate_after = interval '3 months';
update strata.partition_sets set leaf_fillfactor = 85 where set_name = 'account_balances';

do $$
begin
  -- TRUNCATE of the parent fires these too.
  for remainder in 0..3 loop
    execute format('create trigger note_truncated before truncate on strata.%I for each statement execute function strata.note_state_truncated()',
      'account_balances_current_hash_' || remainder);
  end loop;
end
$$;

select strata.grant_roles();
