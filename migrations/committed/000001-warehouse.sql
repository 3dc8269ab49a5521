--! Previous: -
--! Hash: sha1:af5ea603f2290d32931279f0b3ec6772b1d7e672
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
  groups            jsonb constraint groups_of_list_layout check ((layout = 'list') = (groups is not null)),
  heap_order        text not null default 'time' check (heap_order in ('time', 'key')),
  hold              interval not null default '7 days' check (hold >= interval '0'),
  size_alert        bigint not null default 1000000000 check (size_alert > 0),
  retained_from     timestamptz not null default '-infinity',
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
comment on column strata.partition_sets.retained_from is 'Weeks before this were dropped by retention: they are not made again, and rows of that time are quarantined';

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
  unmatched      bigint,
  dropped        bigint,
  block_time     timestamptz,
  min_time       timestamptz,
  max_time       timestamptz,
  committed_at   timestamptz not null default clock_timestamp(),
  primary key (source_id, start_block),
  check (end_block >= start_block)
);
create index stream_batches_end on strata.stream_batches (source_id, end_block);
comment on table strata.stream_batches is 'The ledger: one row per committed block range, written in the transaction of its rows';
comment on column strata.stream_batches.hash is 'Hash of end_block; null where the range was cut short, by --to or a reorg: the next run that goes on behind it reads it again';
comment on column strata.stream_batches.prev_hash is 'Hash of the parent of start_block; null where the server does not say';
comment on column strata.stream_batches.batch_id is 'First 8 bytes of SHA-256 over network:start:end:hash:prev_hash';
comment on column strata.stream_batches.block_time is 'Time of end_block, where the server says it';
comment on column strata.stream_batches.min_time is 'Earliest time among the range''s rows: the literal bound that lets a reorg prune old weeks';
comment on column strata.stream_batches.row_count is 'Rows the range put into its table';
comment on column strata.stream_batches.unmatched is 'Rows that found no label in at least one of the stream''s joins, as they were loaded; null where it has none, or a reorg cut the range';
comment on column strata.stream_batches.dropped is 'Rows that an inner join left out for it';

create table strata.stream_health (
  stream        text primary key check (stream <> ''),
  state         text not null check (state in ('running', 'waiting', 'stopped')),
  failures      int not null default 0 check (failures >= 0),
  retries       bigint not null default 0 check (retries >= 0),
  next_try_at   timestamptz,
  last_error    jsonb,
  breaker       text not null default 'closed' check (breaker in ('closed', 'open', 'half-open')),
  rate_delay_ms int not null default 0 check (rate_delay_ms >= 0),
  heads         jsonb not null default '{}',
  started_at    timestamptz not null,
  updated_at    timestamptz not null default clock_timestamp(),
  host          text not null,
  pid           int not null
);
comment on table strata.stream_health is 'What the process that loads a stream says of itself, at each change and a few times a minute; one that says nothing for two minutes is lost';
comment on column strata.stream_health.state is 'running; waiting for the next try; stopped, by an error where last_error says so, else at its end';
comment on column strata.stream_health.failures is 'Failed tries since the last commit';
comment on column strata.stream_health.retries is 'Tries after a failure since the process started';
comment on column strata.stream_health.last_error is 'kind, message, sqlstate, grpc_status and the time of the newest failure, without secrets; kept while running, as long as nothing was committed since';
comment on column strata.stream_health.heads is 'Newest block the server has shown, by network';

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
  delta           numeric not null check (delta > '-Infinity' and delta < 'Infinity'),
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
create index maintenance_runs_running on strata.maintenance_runs (run_id) where outcome = 'running';
comment on table strata.maintenance_runs is 'Journal: every maintenance run with its plan and outcome';
comment on column strata.maintenance_runs.detail is 'What the run came to: its result, or the kind, SQLSTATE and remedy of its error. due: the due time a scheduled run serves; narrowed: only some weeks were asked for; vanished: its process ended without a word';
comment on column strata.maintenance_runs.backend_pid is 'The session that is there as long as the run lasts';
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

create table strata.retentions (
  retention_id    bigint generated always as identity primary key,
  set_name        text not null references strata.partition_sets,
  cutoff          timestamptz not null,
  retained_before timestamptz not null,
  floor_before    timestamptz not null,
  noted_at        timestamptz not null default clock_timestamp(),
  undone_at       timestamptz,
  dropped_at      timestamptz
);
comment on table strata.retentions is 'Journal: one row per retention of a set, written in the transaction that takes the weeks before cutoff out of the reckoning; what undoing it needs';
comment on column strata.retentions.retained_before is 'partition_sets.retained_from before it';
comment on column strata.retentions.floor_before is 'What balance_status said of the set before it: opened_before, changes_from or observations_from';
comment on column strata.retentions.dropped_at is 'When the last of its weeks was dropped: from then on it cannot be undone';

create table strata.held_openings (
  retention_id    bigint not null references strata.retentions on delete cascade,
  account_address bytea not null,
  asset_id        bigint not null,
  balance         numeric,
  "timestamp"     timestamptz,
  primary key (retention_id, account_address, asset_id)
);
comment on table strata.held_openings is 'Opening rows as they were before a retention wrote over them, until its weeks are dropped; balance is null where there was none';

create table strata.held_deltas (
  retention_id    bigint not null references strata.retentions on delete cascade,
  account_address bytea not null,
  asset_id        bigint not null,
  period          timestamptz not null,
  delta           numeric not null,
  change_count    int not null,
  primary key (retention_id, account_address, asset_id, period)
);
comment on table strata.held_deltas is 'What late changes added to opening balances since a retention, by period: undoing it gives that to the rows it puts back';

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
  retention_id     bigint references strata.retentions,
  state            text not null default 'held' check (state in ('detaching', 'held', 'dropped', 'reattached')),
  detail           jsonb not null default '{}',
  detached_at      timestamptz not null default clock_timestamp(),
  drop_after       timestamptz not null,
  finished_at      timestamptz
);
comment on table strata.held_partitions is 'Journal: weeks that were taken out of their set, each kept in schema strata_held until drop_after, so that it can be put back';
comment on column strata.held_partitions.partition is 'The table itself; its name changes when it is held, its oid does not';
comment on column strata.held_partitions.partition_name is 'Its name in the set, which it gets back when it is put back';

create table strata.labels (
  label_name  text primary key check (label_name ~ '^[a-z_][a-z0-9_]{0,38}$'),
  key_header  text not null,
  columns     jsonb not null,
  row_count   bigint not null,
  duplicates  bigint not null default 0,
  source_file text not null,
  sha256      text not null,
  loaded_at   timestamptz not null default clock_timestamp()
);
comment on table strata.labels is 'One row per loaded label file; its rows are in strata.labels_<label_name>, keyed by account_address';
comment on column strata.labels.columns is '[{"name": …, "type": …, "header": …}] of each column beside the key';
comment on column strata.labels.duplicates is 'Rows of the file that were left out because their key came more than once';

create table strata.label_views (
  view_schema text not null,
  view_name   text not null,
  label_name  text not null references strata.labels,
  base_schema text not null,
  base_name   text not null,
  join_column text not null,
  join_type   text not null check (join_type in ('left', 'inner')),
  columns     jsonb,
  prefix      text not null default '',
  primary key (view_schema, view_name)
);
comment on table strata.label_views is 'Views that join a label table to another: how to make them anew when a reload changes the label''s columns';
comment on column strata.label_views.columns is 'Names of the label''s columns in the view; null for all of them';

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
  'Every partition of a managed set with its real bounds, kind, sizes in bytes and freshness. kind: hash or list (a week with leaves), consolidated (one table, or a week whose only leaf is that; see flatten_weeks), odd (not one whole week), default, foreign. row_estimate is null until the leaves were analyzed; pages and visible_pages are those of the last VACUUM or ANALYZE.';
--! EndIncluded functions/week_info.sql
--! Included functions/advisory_key.sql
create or replace function strata.advisory_key(name text) returns bigint
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return ('x' || encode(substr(sha256(convert_to('pgstrata:' || name, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint;

comment on function strata.advisory_key(text) is
  'The key of a named advisory lock, the first 8 bytes of SHA-256: the same as the client''s. Names in use: ''maintain <set>'' (one maintainer per set), ''gate <set>'' (shared by each load, exclusive for a swap).';
--! EndIncluded functions/advisory_key.sql
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
--! Included functions/guard_detached.sql
create or replace function strata.guard_detached(week regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  part regclass;
begin
  for part in select t.relid from pg_partition_tree(week) t order by t.level loop
    execute format('create or replace trigger strata_detached before insert or update or delete or truncate on %s for each statement execute function strata.refuse_detached()', part);
  end loop;
end
$$;

comment on function strata.guard_detached(regclass) is
  'Refuses further writes to a week that is taken out, and to its partitions: see refuse_detached().';
--! EndIncluded functions/guard_detached.sql
--! Included functions/week_key.sql
create or replace function strata.week_key(instant timestamptz) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, strata, pg_temp
return to_char(strata.week_start(instant) at time zone 'UTC', 'YYYY_MM_DD');

comment on function strata.week_key(timestamptz) is
  'Key of the week that holds the instant, as it stands in partition names: 2026_01_04.';
--! EndIncluded functions/week_key.sql
--! Included functions/partition_type.sql
create or replace function strata.partition_type(kind text) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return case when kind in ('hash', 'list') then upper(kind) || '_PARTITIONED' else upper(kind) end;

comment on function strata.partition_type(text) is
  'A kind of strata.week_info() as the reports write it: HASH_PARTITIONED, LIST_PARTITIONED, CONSOLIDATED, ODD, DEFAULT or FOREIGN.';
--! EndIncluded functions/partition_type.sql
--! Included functions/require_set.sql
create or replace function strata.require_set(set_name text) returns strata.partition_sets
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  s strata.partition_sets;
begin
  select * into s from strata.partition_sets p where p.set_name = require_set.set_name;
  if s.set_name is null then
    raise exception 'there is no partition set %', coalesce(quote_literal(require_set.set_name), 'null')
      using errcode = 'undefined_object', hint = 'The managed sets are the rows of strata.partition_sets.';
  end if;
  return s;
end
$$;

comment on function strata.require_set(text) is
  'The policy of a managed set, or an error that says where the sets are listed.';
--! EndIncluded functions/require_set.sql
--! Included functions/check_groups.sql
create or replace function strata.check_groups(set_name text, groups jsonb) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  fault text;
begin
  if groups is null then
    return true;
  end if;
  if jsonb_typeof(groups) <> 'array' or jsonb_array_length(groups) not between 1 and 1000 then
    fault := 'they must be an array of 1 to 1000 groups';
  elsif exists (select from jsonb_array_elements(groups) g
                 where jsonb_typeof(g -> 'name') is distinct from 'string' or jsonb_typeof(g -> 'values') is distinct from 'array') then
    fault := 'each must have a name and an array of values';
  elsif exists (select from jsonb_array_elements(groups) g, jsonb_array_elements(g -> 'values') v where jsonb_typeof(v) <> 'string')
     or exists (select from jsonb_array_elements(groups) g where jsonb_array_length(g -> 'values') = 0) then
    fault := 'values must be strings, at least one in each group';
  else
    -- A week's name is the set's and its date; behind it comes _ and the group.
    select format('%s is no name for a group of %s: it must be lower-case letters, digits and _, begin with a letter, and be at most %s bytes long',
                  quote_literal(g ->> 'name'), check_groups.set_name, 51 - octet_length(check_groups.set_name)) into fault
      from jsonb_array_elements(groups) g
     where g ->> 'name' !~ '^[a-z][a-z0-9_]*$' or octet_length(g ->> 'name') > 51 - octet_length(check_groups.set_name)
        or g ->> 'name' in ('default', 'consolidated') or g ->> 'name' ~ '^hash_[0-9]+$'
     limit 1;
    fault := coalesce(fault,
      (select format('%s is the name of two groups', quote_literal(g ->> 'name')) from jsonb_array_elements(groups) g
        group by g ->> 'name' having count(*) > 1 limit 1),
      (select format('%s is in a group twice, or in two', quote_literal(v)) from jsonb_array_elements(groups) g, jsonb_array_elements_text(g -> 'values') v
        group by v having count(*) > 1 limit 1));
  end if;
  if fault is not null then
    raise exception 'the groups of % are not usable: %', set_name, fault
      using errcode = 'invalid_parameter_value', hint = 'Write [{"name": "holding", "values": ["xrd_holding", "lsu_holding"]}, …].';
  end if;
  return true;
end
$$;

comment on function strata.check_groups(text, jsonb) is
  'True for groups that a set of list layout can be cut by (or null); an error that says what is wrong with them otherwise.';
--! EndIncluded functions/check_groups.sql
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
      where p.lower_bound < week + interval '168 hours' and p.upper_bound > week)
     and not exists (
     select from strata.partition_sets s
      where s.set_name = missing_weeks.set_name and week + interval '168 hours' <= s.retained_from);
end;

comment on function strata.missing_weeks(text, timestamptz, timestamptz) is
  'The weeks of a managed set in [first_week, last_week] that no attached partition covers, without those that retention has dropped. Volatile: it must see what others committed while we waited for the lock.';
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
  leaf        record;
  part        text;
begin
  select * into strict s from strata.partition_sets p where p.set_name = create_week.set_name;
  select n.nspname, c.relname into strict schema_name, root
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = s.parent;

  -- CREATE … PARTITION OF would lock the root ACCESS EXCLUSIVE. Built apart with a CHECK that equals its bounds, the week is
  -- attached under SHARE UPDATE EXCLUSIVE and without a scan.
  execute format(
    'create table %1$I.%2$I (like %1$I.%3$I including all excluding identity, constraint %4$I check (%5$I >= %6$L and %5$I < %7$L)) partition by %8$s (%9$I)',
    schema_name, week, root, week || '_bounds', s.time_column, lower_bound, upper_bound, s.layout, s.hash_column);
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
  execute format('alter table %1$I.%2$I attach partition %1$I.%3$I for values from (%4$L) to (%5$L)',
    schema_name, root, week, lower_bound, upper_bound);
  return format('%I.%I', schema_name, week)::regclass;
end
$$;

comment on function strata.create_week(text, timestamptz) is
  'Creates one week with its hash or list partitions and attaches it; the root gets no more than SHARE UPDATE EXCLUSIVE. A list week has a partition of its own for values that no group names. Use ensure_weeks(), which serialises callers.';
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
  'Makes sure that every week from from_time to to_time (both inclusive) exists; returns them with what was created. Weeks that retention has dropped (before partition_sets.retained_from) are not made again. Security definer, so that a loader needs no right to create tables. Safe for any number of callers at once; commit soon, the attach holds SHARE UPDATE EXCLUSIVE on the root until then.';
--! EndIncluded functions/ensure_weeks.sql
--! Included functions/free_set_name.sql
create or replace function strata.free_set_name(schema_name text, table_name text) returns text
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  candidate text;
begin
  foreach candidate in array array[table_name, schema_name || '_' || table_name] loop
    if octet_length(candidate) <= 39 and not exists (
      select from strata.partition_sets s where s.set_name = candidate and s.parent is distinct from to_regclass(format('%I.%I', schema_name, table_name)))
    then
      return candidate;
    end if;
  end loop;
  raise exception 'there is no name left for a partition set of %.%', quote_ident(schema_name), quote_ident(table_name)
    using errcode = 'duplicate_object',
          hint = 'Sets are named table, or schema_table where that is taken, of 39 bytes at most: give the table a shorter name.';
end
$$;

comment on function strata.free_set_name(text, text) is
  'The name for the partition set of a table: that of the table, or schema_table where another table has it.';
--! EndIncluded functions/free_set_name.sql
--! Included functions/create_partition_set.sql
create or replace function strata.create_partition_set(
  set_name text, parent regclass, time_column name, hash_column name, modulus int default 4, groups jsonb default null
) returns strata.partition_sets
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  result strata.partition_sets;
  key    text := (select pg_get_partkeydef(parent));
  keys   text;
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
  select pg_get_indexdef(i.indexrelid) into keys
    from pg_index i
   where i.indrelid = parent and i.indisunique and not exists (
     select from pg_attribute a where a.attrelid = parent and a.attname = hash_column and a.attnum = any (i.indkey::int2[]));
  if keys is not null then
    raise exception '% cannot be cut by %, which is not in its unique index: %', parent, quote_ident(hash_column), keys
      using errcode = 'invalid_table_definition', hint = format('Every primary key and unique index must have %I among its columns.', hash_column);
  end if;
  perform strata.check_groups(create_partition_set.set_name, groups);
  insert into strata.partition_sets (set_name, parent, time_column, hash_column, modulus, layout, groups)
  values (set_name, parent, time_column, hash_column, modulus, case when groups is null then 'hash' else 'list' end, groups)
  on conflict on constraint partition_sets_pkey do nothing;
  select * into strict result from strata.partition_sets p where p.set_name = create_partition_set.set_name;
  if result.parent <> create_partition_set.parent then
    raise exception 'the partition set % is the table % already', quote_literal(result.set_name), result.parent
      using errcode = 'duplicate_object', hint = 'Weeks are named after their set: give this table''s set another name.';
  end if;
  return result;
end
$$;

comment on function strata.create_partition_set(text, regclass, name, name, int, jsonb) is
  'Puts a table that is partitioned by range of a timestamptz column under management: weeks × modulus hash partitions of hash_column, or, with groups ([{"name": "holding", "values": ["…"]}]), list partitions of its values and one for all others. A set of that name for the same table stays as it is; for another table it is refused.';
--! EndIncluded functions/create_partition_set.sql
--! Included functions/partition_info.sql
create or replace function strata.partition_info(set_name text)
returns table (
  schemaname text, tablename text, week_key text, week_start timestamptz, week_end timestamptz, partition_type text,
  row_count bigint, size text, size_bytes bigint, index_bytes bigint
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  perform strata.require_set(partition_info.set_name);
  return query
    select n.nspname::text, leaf.relname::text, strata.week_key(w.lower_bound), w.lower_bound, w.upper_bound, strata.partition_type(w.kind),
           case when leaf.reltuples >= 0 then leaf.reltuples::bigint end,
           pg_size_pretty(pg_total_relation_size(leaf.oid)), pg_total_relation_size(leaf.oid), pg_indexes_size(leaf.oid)
      from strata.week_info(partition_info.set_name) w
     cross join lateral pg_partition_tree(w.partition) t
      join pg_class leaf on leaf.oid = t.relid
      join pg_namespace n on n.oid = leaf.relnamespace
     where t.isleaf
     order by w.lower_bound nulls last, leaf.relname;
end
$$;

comment on function strata.partition_info(text) is
  'Every table of a set that holds rows, in time order, with its week and sizes. row_count is as of the last ANALYZE, null before it.';
--! EndIncluded functions/partition_info.sql
--! Included functions/consolidation_refusal.sql
create or replace function strata.consolidation_refusal(set_name text, week regclass) returns text
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  s     strata.partition_sets := strata.require_set(set_name);
  w     record;
  other text;
begin
  select i.* into w from strata.week_info(set_name) i where i.partition = consolidation_refusal.week;
  if w.partition is null then
    return format('%s is no partition of the set %s', consolidation_refusal.week, set_name);
  end if;
  if w.kind = 'consolidated' then
    return 'it is consolidated already';
  elsif w.kind = 'odd' then
    return 'it is not one whole week (Sunday 00:00 UTC to the next): leave it, or move its rows into weeks';
  elsif w.kind not in ('hash', 'list') then
    return format('it is a %s partition, which maintenance leaves alone', w.kind);
  elsif w.upper_bound > now() then
    return 'it is not over yet';
  elsif w.detach_pending then
    return format('a DETACH CONCURRENTLY of it was interrupted: alter table %s detach partition %s finalize, then attach it again', s.parent, w.partition);
  elsif w.leaves = 0 then
    return 'it has no partitions';
  end if;

  select string_agg(leaf.relid::text, ', ') into other
    from pg_partition_tree(w.partition) leaf join pg_class c on c.oid = leaf.relid
   where leaf.level > 0 and (leaf.level > 1 or c.relkind <> 'r');
  if other is not null then
    return format('%s is no plain table one level below the week', other);
  end if;
  select string_agg(distinct r.ev_class::regclass::text, ', ') into other
    from pg_depend d join pg_rewrite r on r.oid = d.objid
   where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
     and d.refobjid in (select t.relid from pg_partition_tree(w.partition) t);
  if other is not null then
    return format('view %s reads it by name, and would go on to read what is put away: let it read %s between two times instead', other, s.parent);
  end if;
  select string_agg(i.partition_name, ', ') into other from strata.week_info(set_name) i where i.kind = 'default';
  if other is not null then
    return format('the set has a DEFAULT partition, %s, which would be scanned while everybody waits: move its rows into weeks, then detach it', other);
  end if;
  select c.step || ' since ' || c.started_at::text into other
    from strata.consolidations c where c.set_name = s.set_name and c.lower_bound = w.lower_bound and c.finished_at is null limit 1;
  if other is not null then
    return format('a consolidation of it is unfinished (%s): finish or undo that one first', other);
  end if;
  if octet_length(w.partition_name || '_consolidated') > 63 then
    return 'its name is too long to have _consolidated put behind it: rename it to 50 bytes or fewer';
  end if;
  select string_agg(c.oid::regclass::text, ', ') into other
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where (n.oid = (select p.relnamespace from pg_class p where p.oid = w.partition) and c.relname = w.partition_name || '_consolidated')
      or (n.nspname = 'strata_held' and c.relname in (
            select l.relname from pg_partition_tree(w.partition) t join pg_class l on l.oid = t.relid));
  if other is not null then
    return format('%s is in the way: drop or rename it if nobody needs it', other);
  end if;
  return null;
end
$$;

comment on function strata.consolidation_refusal(text, regclass) is
  'Why a week cannot be consolidated as it stands, with what to do about it; null when it can.';
--! EndIncluded functions/consolidation_refusal.sql
--! Included functions/require_months.sql
create or replace function strata.require_months(months int) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if months is null or months not between 0 and 1200 then
    raise exception 'months must be 0 to 1200, not %', coalesce(months::text, 'null') using errcode = 'invalid_parameter_value';
  end if;
end
$$;

comment on function strata.require_months(int) is
  'Refuses an age in months that makes no sense; asked before any lock is taken.';
--! EndIncluded functions/require_months.sql
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
           w.total_bytes, strata.consolidation_refusal(old_weeks.set_name, w.partition)
      from strata.week_info(old_weeks.set_name) w
     where w.kind <> 'consolidated'
       and (w.upper_bound is null or w.upper_bound <= least(now(), now() - make_interval(months => old_weeks.months)))
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.old_weeks(text, int) is
  'The partitions of a set that ended at least that many months ago and are not consolidated, each with why it cannot be, or null. A partition without bounds is among them, with its advice.';
--! EndIncluded functions/old_weeks.sql
--! Included functions/consolidation_status.sql
create or replace function strata.consolidation_status(set_name text)
returns table (
  week_key text, week_start timestamptz, week_end timestamptz, partition_type text, partition_count int, row_count bigint,
  total_size text, total_bytes bigint, due boolean, advice text
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
  s strata.partition_sets := strata.require_set(consolidation_status.set_name);
begin
  return query
    select coalesce(strata.week_key(w.lower_bound), w.partition_name), w.lower_bound, w.upper_bound, strata.partition_type(w.kind), greatest(w.leaves, 1),
           w.row_estimate, pg_size_pretty(w.total_bytes), w.total_bytes,
           w.kind in ('hash', 'list') and coalesce(w.upper_bound <= now() - s.consolidate_after, false),
           case when w.kind <> 'consolidated' then strata.consolidation_refusal(s.set_name, w.partition) end
      from strata.week_info(s.set_name) w
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.consolidation_status(text) is
  'Every week of a set: whether it is partitioned or consolidated, its partitions and size, whether it is due by the set''s consolidate_after, and what keeps it from being consolidated. row_count is as of the last ANALYZE.';
--! EndIncluded functions/consolidation_status.sql
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
     where g.week < last and coalesce(c.covered, interval '0') < interval '168 hours'
     order by g.week;
end
$$;

comment on function strata.find_missing_weeks(text) is
  'Weeks without a partition between the first one of a set and the last, or the last that should be created ahead by now; with the statement that creates it, or what is in the way.';
--! EndIncluded functions/find_missing_weeks.sql
--! Included functions/partition_distribution.sql
create or replace function strata.partition_distribution(set_name text)
returns table (
  week_key text, tablename text, row_count bigint, size_bytes bigint, row_share numeric, expected_share numeric, skewed boolean
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  perform strata.require_set(partition_distribution.set_name);
  return query
    select strata.week_key(w.lower_bound), leaf.relname::text, size.rows, pg_total_relation_size(leaf.oid),
           round(size.rows / nullif(sum(size.rows) over of_week, 0), 4), round(1.0 / count(*) over of_week, 4),
           coalesce(w.kind = 'hash' and size.rows > 1.5 * avg(size.rows) over of_week and sum(size.rows) over of_week > 10000, false)
      from strata.week_info(partition_distribution.set_name) w
      join pg_inherits i on i.inhparent = w.partition
      join pg_class leaf on leaf.oid = i.inhrelid
     cross join lateral (select case when leaf.reltuples >= 0 then leaf.reltuples::bigint end) size(rows)
     where w.kind in ('hash', 'list')
    window of_week as (partition by w.partition)
     order by w.lower_bound, leaf.relname;
end
$$;

comment on function strata.partition_distribution(text) is
  'How the rows of each week spread over its partitions, by the counts of the last ANALYZE. skewed: a hash partition with more than one and a half times its fair share in a week of more than 10,000 rows; few accounts then own most rows, and more hash partitions will not help. List partitions follow their groups and are never called skewed.';
--! EndIncluded functions/partition_distribution.sql
--! Included functions/explain_query.sql
create or replace function strata.explain_query(set_name text, start_time timestamptz, end_time timestamptz, key text default null)
returns table (query_plan text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  s        strata.partition_sets := strata.require_set(explain_query.set_name);
  key_type regtype := (select a.atttypid from pg_attribute a where a.attrelid = s.parent and a.attname = s.hash_column);
  question text;
  plan     jsonb;
begin
  question := format('select * from %s where %I >= %L and %2$I < %4$L', s.parent, s.time_column, start_time, end_time);
  if explain_query.key is not null then
    -- The account as people write it; a literal of the column's own type, or nothing is pruned.
    question := question || format(' and %I = %L::%s', s.hash_column,
      case when key_type = 'bytea'::regtype then strata.account(explain_query.key)::text else explain_query.key end, key_type);
  end if;
  return query execute 'explain ' || question;
  execute 'explain (format json) ' || question into plan;
  return query
    select format('Partitions read: %s of %s', count(distinct node ->> 'Relation Name'),
                  (select count(*) from pg_partition_tree(s.parent) t where t.isleaf and t.relid <> s.parent))
      from jsonb_path_query(plan, 'strict $.** ? (exists (@."Relation Name"))') node;
end
$$;

comment on function strata.explain_query(text, timestamptz, timestamptz, text) is
  'The plan of reading a set between two instants, for one account (or other hash key, as text) where it is given, and how many partitions it reads. Nothing is executed.';
--! EndIncluded functions/explain_query.sql
--! Included functions/consolidation_report.sql
create or replace function strata.consolidation_report(set_name text)
returns table (metric text, value text)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  s strata.partition_sets := strata.require_set(consolidation_report.set_name);
begin
  return query
    with weeks as (
      select count(*) filter (where w.partition_type like '%PARTITIONED') as parted,
             count(*) filter (where w.partition_type = 'CONSOLIDATED') as merged,
             coalesce(sum(w.partition_count) filter (where w.partition_type like '%PARTITIONED'), 0) as parted_tables,
             coalesce(sum(w.partition_count) filter (where w.partition_type = 'CONSOLIDATED'), 0) as merged_tables,
             count(*) filter (where w.partition_type not like '%PARTITIONED' and w.partition_type <> 'CONSOLIDATED') as others,
             count(*) filter (where w.due) as due,
             coalesce(sum(w.total_bytes), 0) as bytes
        from strata.consolidation_status(s.set_name) w
    ), journal as (
      select count(*) filter (where c.step = 'failed' and c.started_at > now() - interval '7 days') as failed,
             max(c.swapped_at) filter (where c.step <> 'undone') as latest,
             coalesce(sum(c.bytes_before - c.bytes_after) filter (where c.swapped_at is not null and c.step <> 'undone'), 0) as saved
        from strata.consolidations c where c.set_name = s.set_name
    ), held as (
      select count(*) as weeks, coalesce(sum(h.bytes), 0) as bytes
        from strata.held_partitions h where h.set_name = s.set_name and h.finished_at is null
    )
    select m.metric, m.value
      from weeks w, journal j, held h,
           lateral (values
             (1, 'hash_partitioned_weeks', w.parted::text),
             (2, 'consolidated_weeks', w.merged::text),
             (3, 'total_hash_partitions', w.parted_tables::text),
             (4, 'total_consolidated_partitions', w.merged_tables::text),
             (5, 'other_partitions', w.others::text),
             (6, 'weeks_due', w.due::text),
             (7, 'total_size', pg_size_pretty(w.bytes)),
             (8, 'saved_by_consolidation', pg_size_pretty(j.saved)),
             (9, 'held_weeks', h.weeks::text),
             (10, 'held_size', pg_size_pretty(h.bytes)),
             (11, 'last_consolidation', coalesce(j.latest::text, 'never')),
             (12, 'failures_last_7_days', j.failed::text)
           ) m(place, metric, value)
     order by m.place;
end
$$;

comment on function strata.consolidation_report(text) is
  'A set in twelve figures: weeks still partitioned and consolidated, their tables, what is due, saved, held and failed. List partitions are counted as hash partitions are.';
--! EndIncluded functions/consolidation_report.sql
--! Included functions/sample_statement.sql
create or replace function strata.sample_statement(week regclass, pages_max int default 96) returns text
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  run_pages constant int := 4;
  columns   text;
  leaf      record;
  runs      int;
  pieces    text[] := '{}';
begin
  select string_agg('t.' || quote_ident(a.attname), ', ' order by a.attnum) into columns
    from pg_attribute a where a.attrelid = week and a.attnum > 0 and not a.attisdropped;
  for leaf in
    select t.relid, (pg_relation_size(t.relid) / current_setting('block_size')::int)::bigint as pages from pg_partition_tree(week) t where t.isleaf
  loop
    if leaf.pages <= pages_max then
      pieces := pieces || format('select 1::float8 as strata_weight, pg_column_size(t) as strata_bytes, %s from only %s t', columns, leaf.relid);
      continue;
    end if;
    runs := pages_max / run_pages;
    pieces := pieces || array(
      select format('select %s::float8 as strata_weight, pg_column_size(t) as strata_bytes, %s from only %s t where t.ctid >= ''(%s,0)'' and t.ctid < ''(%s,0)''',
                    leaf.pages::float8 / (runs * run_pages), columns, leaf.relid, first, first + run_pages)
        from (select leaf.pages * run / runs as first from generate_series(0, runs - 1) run) r);
  end loop;
  return array_to_string(pieces, E'\nunion all ');
end
$$;

comment on function strata.sample_statement(regclass, int) is
  'A query for a sample of a week''s rows: every live row of up to pages_max pages of each partition, taken in runs all over it, with what one row stands for (strata_weight) and its bytes in the heap (strata_bytes). Counts are then true even where dead rows and empty pages lie between.';
--! EndIncluded functions/sample_statement.sql
--! Included functions/estimate_index.sql
create or replace function strata.estimate_index(index regclass, week regclass, sample text) returns float8
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  page       constant int := current_setting('block_size')::int;
  i          record;
  keys       text;
  predicate  text;
  measured   record;
  copies     float8;
  tuple      float8;
  fill       float8;
  leaf_pages float8;
begin
  select x.*, a.amname, c.reloptions into strict i
    from pg_index x join pg_class c on c.oid = x.indexrelid join pg_am a on a.oid = c.relam where x.indexrelid = index;
  if i.amname = 'brin' then
    return 6 * page;  -- its three kinds of pages, of each one for a week, and a free space map
  elsif i.amname <> 'btree' then
    -- Its size does not follow from its keys; what it has now is the best guess.
    return coalesce((select sum(pg_relation_size(t.relid)) from pg_partition_tree(index) t join pg_index x on x.indexrelid = t.relid
                      where x.indrelid in (select w.relid from pg_partition_tree(week) w)), 0);
  end if;

  select string_agg(pg_get_indexdef(index, k::int, true), ', ' order by k) into keys from generate_series(1, i.indnatts) k;
  predicate := coalesce(pg_get_expr(i.indpred, i.indrelid), 'true');
  execute format($measure$
    with sampled as (
      select s.strata_weight, 8 * ceil((8 + case when num_nulls(%1$s) > 0 then 8 else 0 end + pg_column_size(row(%1$s)) - 24) / 8.0) as bytes,
             hashtextextended(row(%1$s)::text, 0) as key
        from (%2$s) s where %3$s
    ), grouped as (
      select count(*) as n from sampled group by key
    )
    select (select sum(strata_weight) from sampled) as rows, (select sum(strata_weight * bytes) / sum(strata_weight) from sampled) as bytes,
           sum(g.n)::float8 as n, count(*)::float8 as keys, count(*) filter (where g.n = 1)::float8 as once
      from grouped g
  $measure$, keys, sample, predicate) into measured;
  if coalesce(measured.rows, 0) = 0 then
    return page;
  end if;

  -- How many rows share a key: Haas and Stokes' estimator of distinct values, as ANALYZE has it. A unique index has no duplicates.
  copies := case when i.indisunique then 1 else
    greatest(1, measured.rows * (measured.n - measured.once + measured.once * measured.n / measured.rows) / (measured.n * measured.keys)) end;
  tuple := measured.bytes + 4;
  if copies >= 2 and i.indnatts = i.indnkeyatts and coalesce(not 'deduplicate_items=off' = any (i.reloptions), true) then
    -- Duplicates lie in lists of 6 bytes a row, one list at most a tenth of a page.
    copies := least(copies, (page / 10 - measured.bytes) / 6);
    tuple := (tuple + 6 * copies) / copies;
  end if;
  fill := coalesce((select substr(o, 12)::float8 / 100 from unnest(i.reloptions) o where o like 'fillfactor=%'), 0.9);
  leaf_pages := ceil(measured.rows / floor((page - 40 - page * (1 - fill)) / tuple));
  return page * (1 + leaf_pages + case when leaf_pages > 1 then ceil(leaf_pages * (measured.bytes + 12) / (0.7 * page)) else 0 end);
end
$$;

comment on function strata.estimate_index(regclass, regclass, text) is
  'Bytes of an index of the parent when it is built anew over the rows of a week, of which sample is a sample: entries of their true width, to the fillfactor, duplicates folded together as a b-tree does.';
--! EndIncluded functions/estimate_index.sql
--! Included functions/estimate_week_saving.sql
create or replace function strata.estimate_week_saving(
  set_name text, week regclass, out row_count bigint, out bytes_before bigint, out bytes_after bigint, out predicted_saving numeric
)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set row_security = off
as $$
declare
  s           strata.partition_sets := strata.require_set(set_name);
  page        constant int := current_setting('block_size')::int;
  sample      text := strata.sample_statement(week);
  parts       int;
  toast       bigint;
  heap        float8;
  wide        text;
  total       float8;
  estimate    float8;
  index       record;
begin
  select count(*), coalesce(sum(pg_total_relation_size(t.relid)), 0),
         coalesce(sum(pg_total_relation_size(c.reltoastrelid)) filter (where c.reltoastrelid <> 0), 0)
    into parts, bytes_before, toast
    from pg_partition_tree(week) t join pg_class c on c.oid = t.relid where t.isleaf;

  -- In the heap: what a row takes there now, to the next 8 bytes, and 4 for its pointer; of one whose values lie outside only their pointers.
  select string_agg(format('case when pg_column_size(%1$I) > 2000 then 18 else coalesce(pg_column_size(%1$I), 0) end', a.attname), ' + ') into wide
    from pg_attribute a where a.attrelid = week and a.attnum > 0 and not a.attisdropped;
  execute format('select coalesce(sum(strata_weight), 0), sum(strata_weight * (4 + 8 * ceil((case when strata_bytes <= 2040 then strata_bytes else 28 + %s end) / 8.0))) from (%s) t',
    wide, sample) into total, heap;
  row_count := round(total);
  estimate := case when total > 0 then page * ceil(heap / (page - 24 - heap / total / 2)) else 0 end;
  if estimate > 4 * page then
    estimate := estimate + page * (2 + ceil(estimate / page / 4000));  -- the free space map
  end if;
  estimate := estimate + greatest(toast - (parts - 1) * page, case when toast > 0 then page else 0 end);

  for index in select i.indexrelid::regclass as name from pg_index i where i.indrelid = s.parent loop
    estimate := estimate + strata.estimate_index(index.name, week, sample);
  end loop;
  bytes_after := round(estimate);
  predicted_saving := round((1 - bytes_after::numeric / nullif(bytes_before, 0)), 4);
end
$$;

comment on function strata.estimate_week_saving(text, regclass) is
  'What consolidating a week would save, from measurement: sampled pages give the live rows, their bytes in the heap and the bytes of their keys in each index of the parent; rebuilt full, that is bytes_after, against the files as they are, bytes_before. Dead rows, half-empty pages, fillfactor and indexes that the parent does not have are what is saved. predicted_saving is a share, 0 to 1; below 0 where the copy would be bigger.';
--! EndIncluded functions/estimate_week_saving.sql
--! Included functions/estimate_savings.sql
create or replace function strata.estimate_savings(set_name text, months int default 3)
returns table (
  week_key text, partition_count int, row_count bigint, current_size text, estimated_size text, estimated_savings text,
  bytes_before bigint, bytes_after bigint, predicted_saving numeric
)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
  return query
    select o.week_key, o.leaves, e.row_count, pg_size_pretty(e.bytes_before), pg_size_pretty(e.bytes_after),
           pg_size_pretty(e.bytes_before - e.bytes_after), e.bytes_before, e.bytes_after, e.predicted_saving
      from strata.old_weeks(estimate_savings.set_name, estimate_savings.months) o
     cross join lateral strata.estimate_week_saving(estimate_savings.set_name, o.partition) e
     where o.kind in ('hash', 'list')
     order by o.lower_bound;
end
$$;

comment on function strata.estimate_savings(text, int) is
  'What consolidation would save, week by week, for the weeks that ended at least that many months ago; see strata.estimate_week_saving() for how it is measured.';
--! EndIncluded functions/estimate_savings.sql
--! Included functions/twin_index.sql
create or replace function strata.twin_index(source regclass, target regclass) returns name
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  columns text[];
  twin    name;
begin
  select array_agg(pg_get_indexdef(i.indexrelid, k::int, true) order by k) into columns
    from pg_index i, generate_series(1, i.indnkeyatts) k where i.indrelid = source and i.indisreplident;
  select c.relname into twin
    from pg_index i join pg_class c on c.oid = i.indexrelid
   where i.indrelid = target and i.indisunique and i.indimmediate and i.indpred is null
     and (select array_agg(pg_get_indexdef(i.indexrelid, k::int, true) order by k) from generate_series(1, i.indnkeyatts) k) = columns
   order by i.indisprimary desc limit 1;
  if twin is null then
    raise exception '% has no unique index on (%), which is the replica identity of %', target, array_to_string(columns, ', '), source
      using errcode = 'undefined_object', hint = 'Create that index on the parent table, or choose another replica identity.';
  end if;
  return twin;
end
$$;

comment on function strata.twin_index(regclass, regclass) is
  'The unique index of the target on the same columns as the replica identity of the source.';
--! EndIncluded functions/twin_index.sql
--! Included functions/copy_table_properties.sql
create or replace function strata.copy_table_properties(source regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  s         pg_class;
  t         pg_class;
  r         record;
  statement text;
begin
  select * into strict s from pg_class where oid = source;
  select * into strict t from pg_class where oid = target;

  -- Grants first: afterwards the target may belong to somebody else.
  for r in
    select format('grant %s on %s to %s%s', g.privilege_type, target, coalesce(quote_ident(role.rolname), 'public'),
                  case when g.is_grantable then ' with grant option' else '' end) as ddl
      from aclexplode(s.relacl) g left join pg_roles role on role.oid = g.grantee where g.grantee <> s.relowner
    union all
    select format('grant %s (%I) on %s to %s%s', g.privilege_type, a.attname, target, coalesce(quote_ident(role.rolname), 'public'),
                  case when g.is_grantable then ' with grant option' else '' end)
      from pg_attribute a, aclexplode(a.attacl) g left join pg_roles role on role.oid = g.grantee
     where a.attrelid = source and a.attnum > 0 and not a.attisdropped
  loop
    execute r.ddl;
  end loop;

  for r in
    select p.polname, p.polpermissive, p.polcmd, pg_get_expr(p.polqual, p.polrelid) as qual, pg_get_expr(p.polwithcheck, p.polrelid) as checked,
           (select string_agg(coalesce(quote_ident(role.rolname), 'public'), ', ')
              from unnest(p.polroles) u(oid) left join pg_roles role on role.oid = u.oid) as roles
      from pg_policy p
     where p.polrelid = source and not exists (select from pg_policy o where o.polrelid = target and o.polname = p.polname)
  loop
    execute format('create policy %I on %s as %s for %s to %s', r.polname, target, case when r.polpermissive then 'permissive' else 'restrictive' end,
        case r.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end, r.roles)
      || coalesce(' using (' || r.qual || ')', '') || coalesce(' with check (' || r.checked || ')', '');
  end loop;
  if s.relrowsecurity then
    execute format('alter table %s enable row level security', target);
  end if;
  if s.relforcerowsecurity then
    execute format('alter table %s force row level security', target);
  end if;

  if obj_description(source, 'pg_class') is not null then
    execute format('comment on table %s is %L', target, obj_description(source, 'pg_class'));
  end if;
  for r in
    select a.attname, col_description(source, a.attnum) as says,
           (to_jsonb(a) ->> 'attstattarget')::int as statistics, array_to_string(a.attoptions, ', ') as options
      from pg_attribute a where a.attrelid = source and a.attnum > 0 and not a.attisdropped
  loop
    if r.says is not null then
      execute format('comment on column %s.%I is %L', target, r.attname, r.says);
    end if;
    if r.statistics >= 0 then
      execute format('alter table %s alter column %I set statistics %s', target, r.attname, r.statistics);
    end if;
    if r.options <> '' then
      execute format('alter table %s alter column %I set (%s)', target, r.attname, r.options);
    end if;
  end loop;

  for r in
    select e.oid, pg_get_statisticsobjdef_columns(e.oid) as columns, row_number() over (order by e.oid) as place,
           (to_jsonb(e) ->> 'stxstattarget')::int as statistics,
           (select string_agg(case k when 'd' then 'ndistinct' when 'f' then 'dependencies' else 'mcv' end, ', ')
              from unnest(e.stxkind) k where k in ('d', 'f', 'm')) as kinds
      from pg_statistic_ext e
     where e.stxrelid = source and not exists (
       select from pg_statistic_ext o
        where o.stxrelid = target and pg_get_statisticsobjdef_columns(o.oid) = pg_get_statisticsobjdef_columns(e.oid) and o.stxkind = e.stxkind)
  loop
    statement := format('%I.%I', (select nspname from pg_namespace where oid = t.relnamespace), left(t.relname, 52) || '_stat_' || r.place);
    execute format('create statistics %s%s on %s from %s', statement, case when r.kinds is null then '' else ' (' || r.kinds || ')' end, r.columns, target);
    if r.statistics >= 0 then
      execute format('alter statistics %s set statistics %s', statement, r.statistics);
    end if;
  end loop;

  -- Triggers of the table's own: clones come with ATTACH, ours stay behind.
  for r in
    select g.tgname, g.tgenabled, pg_get_triggerdef(g.oid) as ddl,
           format(' ON %I.%I ', (select nspname from pg_namespace where oid = s.relnamespace), s.relname) as place
      from pg_trigger g join pg_proc f on f.oid = g.tgfoid
     where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and f.pronamespace <> 'strata'::regnamespace
       and not exists (select from pg_trigger o where o.tgrelid = target and o.tgname = g.tgname)
  loop
    if position(r.place in r.ddl) = 0 then
      raise exception 'cannot read the definition of trigger % on %', quote_ident(r.tgname), source;
    end if;
    execute overlay(r.ddl placing format(' ON %s ', target) from position(r.place in r.ddl) for length(r.place));
    if r.tgenabled <> 'O' then
      execute format('alter table %s %s trigger %I', target,
        case r.tgenabled when 'A' then 'enable always' when 'R' then 'enable replica' else 'disable' end, r.tgname);
    end if;
  end loop;

  if s.reloptions is not null then
    execute format('alter table %s set (%s)', target, array_to_string(s.reloptions, ', '));
  end if;
  select array_to_string(array_agg('toast.' || o), ', ') into statement from pg_class c, unnest(c.reloptions) o where c.oid = s.reltoastrelid;
  if statement is not null and t.reltoastrelid <> 0 then
    execute format('alter table %s set (%s)', target, statement);
  end if;
  if s.relreplident in ('f', 'n') then
    execute format('alter table %s replica identity %s', target, case s.relreplident when 'f' then 'full' else 'nothing' end);
  elsif s.relreplident = 'i' then
    execute format('alter table %s replica identity using index %I', target, strata.twin_index(source, target));
  end if;

  for r in
    select p.pubname, pg_get_expr(m.prqual, m.prrelid) as filter,
           (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
             where a.attrelid = m.prrelid and a.attnum = any (m.prattrs::int2[])) as columns
      from pg_publication_rel m join pg_publication p on p.oid = m.prpubid
     where m.prrelid = source and not exists (select from pg_publication_rel o where o.prpubid = m.prpubid and o.prrelid = target)
  loop
    execute format('alter publication %I add table %s', r.pubname, target)
      || coalesce(' (' || r.columns || ')', '') || coalesce(' where (' || r.filter || ')', '');
  end loop;
  if t.relowner <> s.relowner then
    execute format('alter table %s owner to %I', target, (select rolname from pg_roles where oid = s.relowner));
  end if;
end
$$;

comment on function strata.copy_table_properties(regclass, regclass) is
  'Gives a table what CREATE TABLE … LIKE leaves out: grants (of columns too), row security and policies, comments, statistics targets, extended statistics, the user''s own triggers, storage settings, replica identity, publications, owner. What the source has is added; what only the target has stays. Call it when the target''s indexes stand: a replica identity may name one. Triggers of pgstrata itself are not copied.';
--! EndIncluded functions/copy_table_properties.sql
--! Included functions/copy_leaf_properties.sql
create or replace function strata.copy_leaf_properties(week regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  leaf record;
  r    record;
begin
  select c.* into leaf from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = week order by c.relname limit 1;
  if leaf is null then
    return;
  end if;
  -- A settled week needs no room for updates.
  for r in select o from unnest(leaf.reloptions) o where o not like 'fillfactor=%' loop
    execute format('alter table %s set (%s)', target, r.o);
  end loop;
  if leaf.relreplident in ('f', 'n') then
    execute format('alter table %s replica identity %s', target, case leaf.relreplident when 'f' then 'full' else 'nothing' end);
  elsif leaf.relreplident = 'i' then
    execute format('alter table %s replica identity using index %I', target, strata.twin_index(leaf.oid, target));
  end if;
  for r in
    select a.attname, max((to_jsonb(a) ->> 'attstattarget')::int) as statistics
      from pg_inherits i join pg_attribute a on a.attrelid = i.inhrelid
     where i.inhparent = week and a.attnum > 0 and not a.attisdropped and (to_jsonb(a) ->> 'attstattarget')::int >= 0
     group by a.attname
  loop
    execute format('alter table %s alter column %I set statistics %s', target, r.attname, r.statistics);
  end loop;
end
$$;

comment on function strata.copy_leaf_properties(regclass, regclass) is
  'Gives the table that replaces a week''s partitions what only tables with rows carry: storage settings (of the first partition, without its fillfactor), replica identity, the highest statistics targets.';
--! EndIncluded functions/copy_leaf_properties.sql
--! Included functions/index_definition.sql
create or replace function strata.index_definition(index regclass, target regclass) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  ddl    text := pg_get_indexdef(index);
  prefix text;
begin
  select format('CREATE %sINDEX %I ON %s%s ', case when i.indisunique then 'UNIQUE ' else '' end, c.relname,
                case when c.relkind = 'I' then 'ONLY ' else '' end, i.indrelid::regclass) into strict prefix
    from pg_index i join pg_class c on c.oid = i.indexrelid where i.indexrelid = index;
  if not starts_with(ddl, prefix) then
    raise exception 'cannot read the definition of index %', index;
  end if;
  return format('create %sindex on %s ', case when prefix like 'CREATE UNIQUE %' then 'unique ' else '' end, target) || substr(ddl, length(prefix) + 1);
end
$$;

comment on function strata.index_definition(regclass, regclass) is
  'The statement that creates the same index on another table, under a name that PostgreSQL chooses.';
--! EndIncluded functions/index_definition.sql
--! Included functions/week_digest.sql
create or replace function strata.week_digest(rows_of regclass, out row_count bigint, out hash numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set row_security = off
as $$
begin
  execute format('select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from %s t', rows_of) into row_count, hash;
end
$$;

comment on function strata.week_digest(regclass) is
  'Row count of a table and the sum of a 64-bit hash of every row''s text: equal for two tables that hold the same rows in whatever order.';
--! EndIncluded functions/week_digest.sql
--! Included functions/lock_maintenance.sql
create or replace function strata.lock_maintenance(set_name text) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  key    bigint := strata.advisory_key('maintain ' || set_name);
  holder text;
begin
  if pg_try_advisory_xact_lock(key) then
    return;
  end if;
  select format('%s (pid %s)', coalesce(nullif(a.application_name, ''), 'a session'), a.pid) into holder
    from pg_locks l join pg_stat_activity a on a.pid = l.pid
   where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.database = (select oid from pg_database where datname = current_database())
     and ((l.classid::bigint << 32) | l.objid::bigint) = key
   limit 1;
  raise exception 'the set % is being maintained by %', set_name, coalesce(holder, 'another session')
    using errcode = 'lock_not_available', hint = 'Wait for it to finish, or stop that process.';
end
$$;

comment on function strata.lock_maintenance(text) is
  'Makes this transaction the one maintainer of a set, or says who is; the same lock as that of pgstrata maintain.';
--! EndIncluded functions/lock_maintenance.sql
--! Included functions/lock_advice.sql
create or replace function strata.lock_advice(sqlstate text) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return case when sqlstate in ('55P03', '40P01')
  then ': a long transaction reads or writes this week. Nothing was changed; call again when it has ended, or let `pgstrata maintain consolidate` do it, which makes nobody wait'
  else '' end;

comment on function strata.lock_advice(text) is
  'What to do after a lock was not to be had; empty for any other error.';
--! EndIncluded functions/lock_advice.sql
--! Included functions/note_failure.sql
create or replace function strata.note_failure(set_name text, week regclass, error text) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  id bigint;
begin
  insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage_name, heap_order, error, finished_at)
  select note_failure.set_name, coalesce(b.lower_bound, '-infinity'), coalesce(b.upper_bound, 'infinity'), 'transaction', 'failed', c.oid, c.relname,
         c.relname || '_consolidated', s.heap_order, note_failure.error, clock_timestamp()
    from pg_class c cross join lateral strata.partition_bounds(c.oid) b cross join strata.require_set(note_failure.set_name) s
   where c.oid = week
  returning consolidation_id into id;
  return id;
end
$$;

comment on function strata.note_failure(text, regclass, text) is
  'Journals a consolidation that failed before it had an entry of its own.';
--! EndIncluded functions/note_failure.sql
--! Included functions/lock_week.sql
create or replace function strata.lock_week(week regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  tries constant int := 50;
begin
  for try in 1 .. tries loop
    -- A writer of this week that waits for a week we hold already: to wait for it in turn would be a deadlock, and might end it, not us.
    if exists (
      select from pg_locks l
       where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
         and l.database = (select d.oid from pg_database d where d.datname = current_database())
         and l.relation in (select t.relid from pg_partition_tree(week) t) and pg_backend_pid() = any (pg_blocking_pids(l.pid))
    ) then
      raise exception 'a transaction that has written to this week waits to write to another one that is being consolidated'
        using errcode = 'lock_not_available';
    end if;
    begin
      -- The week before its partitions, in the order that writers lock.
      execute format('lock table %s in share row exclusive mode', week);
      return;
    exception when lock_not_available then
      if try = tries then
        raise;
      end if;
    end;
  end loop;
end
$$;

comment on function strata.lock_week(regclass) is
  'Waits up to five seconds for the writers of a week to end, and keeps new ones waiting until the end of the transaction; readers go on. New writers wait no longer than 100 ms at a time for nothing.';
--! EndIncluded functions/lock_week.sql
--! Included functions/build_consolidated.sql
create or replace function strata.build_consolidated(set_name text, week regclass) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set row_security = off
set work_mem = '64MB'
as $$
declare
  s          strata.partition_sets := strata.require_set(set_name);
  w          record;
  stage      text;
  columns    text;
  heap_key   text;
  storage    record;
  estimate   record;
  source     record;
  copied     record;
  definition text;
  id         bigint;
begin
  select i.*, n.nspname into strict w
    from strata.week_info(set_name) i join pg_class c on c.oid = i.partition join pg_namespace n on n.oid = c.relnamespace
   where i.partition = build_consolidated.week;
  perform strata.lock_week(week);
  select * into estimate from strata.estimate_week_saving(set_name, week);

  select c.relpersistence, t.spcname into storage
    from pg_inherits i join pg_class c on c.oid = i.inhrelid left join pg_tablespace t on t.oid = c.reltablespace
   where i.inhparent = week order by c.relname limit 1;
  stage := format('%I.%I', w.nspname, w.partition_name || '_consolidated');
  execute format('create %s table %s (like %s including all excluding indexes excluding statistics excluding identity)%s',
    case when storage.relpersistence = 'u' then 'unlogged' else '' end, stage, week, ' tablespace ' || quote_ident(storage.spcname));
  if not exists (select from pg_constraint c where c.conrelid = stage::regclass and c.conname = w.partition_name || '_bounds') then
    -- With a CHECK that equals its bounds the table is attached without a scan.
    execute format('alter table %1$s add constraint week_bounds check (%2$I >= %3$L and %2$I < %4$L)', stage, s.time_column, w.lower_bound, w.upper_bound);
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
    from pg_attribute a where a.attrelid = week and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
  select string_agg(pg_get_indexdef(i.indexrelid, k::int, true), ', ' order by k) into heap_key
    from pg_index i, generate_series(1, i.indnkeyatts) k where i.indrelid = week and i.indisprimary;
  heap_key := coalesce(heap_key, format('%I, %I', s.hash_column, s.time_column));
  if s.heap_order = 'time' then
    heap_key := format('%I, %s', s.time_column, heap_key);
  end if;
  execute format('insert into %1$s (%2$s) select %2$s from %3$s order by %4$s', stage, columns, week, heap_key);

  for definition in
    -- Constraints, not bare indexes: ATTACH adopts them instead of building its own while everybody waits.
    select coalesce('alter table ' || stage || ' add ' || pg_get_constraintdef(con.oid), strata.index_definition(i.indexrelid, stage::regclass))
      from pg_index i
      left join pg_constraint con on con.conindid = i.indexrelid and con.conrelid = i.indrelid and con.contype in ('p', 'u', 'x')
     where i.indrelid = s.parent order by i.indisprimary desc, i.indexrelid
  loop
    execute definition;
  end loop;
  for definition in
    select pg_get_constraintdef(c.oid) from pg_constraint c where c.conrelid = s.parent and c.contype = 'f' and c.conparentid = 0
  loop
    execute format('alter table %s add %s', stage, definition);
  end loop;

  select d.* into source from strata.week_digest(week) d;
  select d.* into copied from strata.week_digest(stage::regclass) d;
  if source is distinct from copied then
    raise exception '% has % rows with hash %, its copy % with hash %', week, source.row_count, source.hash, copied.row_count, copied.hash
      using errcode = 'data_corrupted', hint = 'Nothing was changed. Look for a trigger or a rule that alters rows on their way.';
  end if;
  perform strata.copy_leaf_properties(week, stage::regclass);
  perform strata.copy_table_properties(week, stage::regclass);
  execute format('analyze %s', stage);

  insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage, stage_name, heap_order,
                                     row_count, bytes_before, bytes_after, predicted_saving, actual_saving, proof)
  select s.set_name, w.lower_bound, w.upper_bound, 'transaction', 'verified', week, w.partition_name, stage::regclass, w.partition_name || '_consolidated',
         s.heap_order, copied.row_count, w.total_bytes, size.bytes, estimate.predicted_saving, round(1 - size.bytes::numeric / nullif(w.total_bytes, 0), 4),
         jsonb_build_object('rows', copied.row_count, 'hash', copied.hash::text, 'rows_before', source.row_count, 'hash_before', source.hash::text)
    from (select pg_total_relation_size(stage::regclass) as bytes) size
  returning consolidation_id into id;
  return id;
end
$$;

comment on function strata.build_consolidated(text, regclass) is
  'First half of consolidating a week in one transaction: copies it, in the set''s heap_order, into <week>_consolidated with every index and constraint of the parent, proves the copy by count and hash, and journals it. From the start until the end of the transaction the writers of this week wait; nobody else does. Returns the consolidation_id for swap_consolidated().';
--! EndIncluded functions/build_consolidated.sql
--! Included functions/is_awaited.sql
create or replace function strata.is_awaited(week oid) returns boolean
language sql volatile
set search_path = pg_catalog, pg_temp
begin atomic
  select exists (
    select from pg_locks l
     where l.locktype = 'relation' and not l.granted and l.database = (select d.oid from pg_database d where d.datname = current_database())
       and l.relation in (select t.relid from pg_partition_tree(is_awaited.week::regclass) t));
end;

comment on function strata.is_awaited(oid) is
  'Whether some session waits for a lock on the week or one of its partitions.';
--! EndIncluded functions/is_awaited.sql
--! Included functions/refuse_old_snapshots.sql
create or replace function strata.refuse_old_snapshots() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  reader text;
begin
  -- Read committed keeps no snapshot between its statements: who is idle in a transaction and has one keeps it for the rest.
  select format('%s (pid %s)', coalesce(nullif(a.application_name, ''), 'a session'), a.pid) into reader
    from pg_stat_activity a
   where a.datname = current_database() and a.state like 'idle in transaction%' and a.backend_xmin is not null and a.pid <> pg_backend_pid()
   limit 1;
  if reader is not null then
    raise exception '% reads in a transaction whose snapshot is older than the copy: to it the week would be empty', reader
      using errcode = 'object_in_use', hint = 'Call again when that transaction has ended.';
  end if;
end
$$;

comment on function strata.refuse_old_snapshots() is
  'An error while a session of this database is idle in a repeatable read (or serializable) transaction: rows copied since its snapshot are invisible to it, so a swap would empty the week for it. Sees the sessions that the caller may see in pg_stat_activity.';
--! EndIncluded functions/refuse_old_snapshots.sql
--! Included functions/hold_tables.sql
create or replace function strata.hold_tables(week oid) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  part regclass;
begin
  for part in select t.relid from pg_partition_tree(week::regclass) t order by t.level loop
    execute format('alter table %s set schema strata_held', part);
  end loop;
  perform strata.guard_detached(week::regclass);
end
$$;

comment on function strata.hold_tables(oid) is
  'Moves a detached week and its partitions to schema strata_held; their names stay.';
--! EndIncluded functions/hold_tables.sql
--! Included functions/swap_within_week.sql
create or replace function strata.swap_within_week(c strata.consolidations) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- Below deadlock_timeout: it is us who give up, never somebody who waits for us.
set lock_timeout = '500ms'
as $$
declare
  s      strata.partition_sets := strata.require_set(c.set_name);
  listed boolean := (select p.partstrat = 'l' from pg_partitioned_table p where p.partrelid = c.week);
  held   text := format('strata_held.%I', c.week_name);
  leaf   record;
begin
  if exists (
    select from pg_locks waiting join pg_locks held on held.pid = waiting.pid and held.locktype = 'relation' and held.granted
     where waiting.locktype = 'relation' and not waiting.granted
       and waiting.database = (select d.oid from pg_database d where d.datname = current_database()) and held.database = waiting.database
       and waiting.relation in (select t.relid from pg_partition_tree(c.week::regclass) t)
       and held.relation in (select t.relid from pg_partition_tree(c.week::regclass) t)
  ) then
    raise exception 'a transaction that has read this week waits to write to it' using errcode = 'lock_not_available';
  end if;
  if not listed then
    -- The CHECK that a hash partition of all rows implies; checked now, while nothing but the copy is locked.
    execute format('alter table %s add constraint whole_week check (satisfies_hash_partition(%s::oid, 1, 0, %I))', c.stage::regclass, c.week, s.hash_column);
  end if;
  execute format('lock table only %s in access exclusive mode', c.week::regclass);
  execute format('create table %s (like %s including all excluding identity) partition by %s', held, c.week::regclass, pg_get_partkeydef(c.week));
  for leaf in
    select i.inhrelid::regclass as name, pg_get_expr(l.relpartbound, l.oid) as bound
      from pg_inherits i join pg_class l on l.oid = i.inhrelid where i.inhparent = c.week
     order by pg_get_expr(l.relpartbound, l.oid) = 'DEFAULT', l.relname
  loop
    execute format('alter table %s detach partition %s', c.week::regclass, leaf.name);
    execute format('alter table %s set schema strata_held', leaf.name);
    execute format('alter table %s attach partition %s %s', held, leaf.name, leaf.bound);
  end loop;
  perform strata.copy_table_properties(c.week, held::regclass);
  execute format('alter table %s attach partition %s %s', c.week::regclass, c.stage::regclass,
    case when listed then 'default' else 'for values with (modulus 1, remainder 0)' end);
  if not listed then
    execute format('alter table %s drop constraint whole_week', c.stage::regclass);
  end if;
end
$$;

comment on function strata.swap_within_week(strata.consolidations) is
  'The part of swap_consolidated() that needs no lock on the parent: the copy becomes the only partition of the week, and what were its partitions go to strata_held under a table of the week''s name. Who waits to write to the week writes to the copy then; readers of this week wait while its old partitions are looked through.';
--! EndIncluded functions/swap_within_week.sql
--! Included functions/swap_consolidated.sql
create or replace function strata.swap_consolidated(consolidation_id bigint) returns text
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set lock_timeout = '100ms'
as $$
declare
  c    strata.consolidations;
  s    strata.partition_sets;
  how  text := 'root';
begin
  perform strata.refuse_old_snapshots();
  select * into strict c from strata.consolidations j where j.consolidation_id = swap_consolidated.consolidation_id;
  s := strata.require_set(c.set_name);
  begin
    -- Somebody who waits to write to this week holds the root, so to wait for the root would be a deadlock.
    if strata.is_awaited(c.week) then
      raise lock_not_available;
    end if;
    perform pg_advisory_xact_lock(strata.advisory_key('gate ' || s.set_name));
    execute format('lock table only %s in access exclusive mode', s.parent);
    execute format('alter table %s detach partition %s', s.parent, c.week::regclass);
    perform strata.hold_tables(c.week);
    execute format('alter table %s attach partition %s for values from (%L) to (%L)', s.parent, c.stage::regclass, c.lower_bound, c.upper_bound);
  exception when lock_not_available or deadlock_detected then
    how := 'week';
    perform strata.swap_within_week(c);
  end;

  insert into strata.held_partitions (set_name, lower_bound, upper_bound, reason, partition, partition_name, bytes, row_count, consolidation_id, drop_after)
  select c.set_name, c.lower_bound, c.upper_bound, 'consolidated', format('strata_held.%I', c.week_name)::regclass, c.week_name, c.bytes_before, c.row_count,
         c.consolidation_id, clock_timestamp() + s.hold;
  update strata.consolidations j
     set step = 'swapped', swapped_at = clock_timestamp(), updated_at = clock_timestamp(), week = format('strata_held.%I', c.week_name)::regclass,
         detail = j.detail || jsonb_build_object('swapped_in', how)
   where j.consolidation_id = c.consolidation_id;
  return how;
end
$$;

comment on function strata.swap_consolidated(bigint) is
  'Second half of consolidating a week in one transaction: puts the copy in the place of the week, which goes to schema strata_held with its partitions. Takes ACCESS EXCLUSIVE on the parent and keeps it until the end of the transaction, so commit at once (returns ''root''). Where the parent is not to be had in 100 ms, because somebody reads or writes a long time or waits to write to this week, the copy becomes the week''s only partition instead, which locks nothing but the week (returns ''week''); flatten_weeks() makes up for the rest later.';
--! EndIncluded functions/swap_consolidated.sql
--! Included functions/flatten_weeks.sql
create or replace function strata.flatten_weeks(set_name text) returns int
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set lock_timeout = '100ms'
as $$
declare
  s       strata.partition_sets := strata.require_set(set_name);
  w       record;
  changed int := 0;
begin
  for w in
    select i.partition, i.lower_bound, i.upper_bound, h.inhrelid::regclass as whole
      from strata.week_info(set_name) i join pg_inherits h on h.inhparent = i.partition where i.kind = 'consolidated' order by i.lower_bound
  loop
    begin
      if strata.is_awaited(w.partition) then
        raise lock_not_available;
      end if;
      perform pg_advisory_xact_lock(strata.advisory_key('gate ' || s.set_name));
      -- The root before the week, as everybody locks: no deadlock, and nothing slow behind it.
      execute format('lock table only %s in access exclusive mode', s.parent);
      execute format('alter table %s detach partition %s', s.parent, w.partition);
      execute format('alter table %s detach partition %s', w.partition, w.whole);
      execute format('drop table %s', w.partition);
      execute format('alter table %s attach partition %s for values from (%L) to (%L)', s.parent, w.whole, w.lower_bound, w.upper_bound);
      changed := changed + 1;
    exception when others then
      null;  -- Nothing is wrong with such a week; the next call tries again.
    end;
  end loop;
  return changed;
end
$$;

comment on function strata.flatten_weeks(text) is
  'Weeks that were consolidated while somebody waited to write to them kept a level between the parent and their one table; takes it out where the parent is to be had in 100 ms. Returns how many weeks that were. Locks the parent until the end of the transaction: commit at once.';
--! EndIncluded functions/flatten_weeks.sql
--! Included functions/consolidate_weeks.sql
create or replace function strata.consolidate_weeks(set_name text, weeks regclass[])
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  s      strata.partition_sets := strata.require_set(consolidate_weeks.set_name);
  run    bigint;
  week   regclass;
  ids    bigint[] := '{}';
  id     bigint;
  failed int := 0;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'consolidation needs isolation level read committed, not %', current_setting('transaction_isolation')
      using errcode = 'invalid_transaction_state', hint = 'An older snapshot would miss what writers commit before they are made to wait.';
  end if;
  perform strata.lock_maintenance(s.set_name);
  insert into strata.maintenance_runs (set_name, verb, asked_by, plan)
  values (s.set_name, 'consolidate', 'sql', jsonb_build_object('weeks', to_jsonb(weeks::text[]))) returning run_id into run;

  -- All that is slow comes first: the parent, once locked for a swap, stays locked until the transaction ends.
  foreach week in array weeks loop
    declare
      refusal text := strata.consolidation_refusal(s.set_name, week);
    begin
      if refusal is not null then
        raise exception '%', refusal using errcode = 'object_not_in_prerequisite_state';
      end if;
      ids := ids || strata.build_consolidated(s.set_name, week);
    exception when others then
      failed := failed + 1;
      ids := ids || strata.note_failure(s.set_name, week, sqlerrm || strata.lock_advice(sqlstate));
    end;
  end loop;
  foreach id in array ids loop
    declare
      c strata.consolidations;
    begin
      select * into strict c from strata.consolidations j where j.consolidation_id = id;
      continue when c.step = 'failed';
      perform strata.swap_consolidated(id);
    exception when others then
      failed := failed + 1;
      execute format('drop table %s', c.stage::regclass);
      update strata.consolidations j
         set step = 'failed', error = sqlerrm || strata.lock_advice(sqlstate), finished_at = clock_timestamp(), updated_at = clock_timestamp() where j.consolidation_id = id;
    end;
  end loop;

  update strata.consolidations j set run_id = run where j.consolidation_id = any (ids);
  update strata.maintenance_runs m
     set finished_at = clock_timestamp(), outcome = case when failed > 0 then 'failed' when cardinality(ids) = 0 then 'nothing' else 'done' end,
         error = case when failed > 0 then failed || ' of ' || cardinality(ids) || ' weeks failed' end
   where m.run_id = run;
  return query
    select strata.week_key(j.lower_bound), case when j.step = 'failed' then 'FAILED' else 'CONSOLIDATED' end, j.row_count, j.bytes_before,
           case when j.step <> 'failed' then j.bytes_after end, case when j.step <> 'failed' then j.actual_saving end,
           coalesce(j.error, format('%s rows in %s; the old week is held as strata_held.%I', j.row_count, j.stage::regclass, j.week_name))
      from unnest(ids) with ordinality u(id, place) join strata.consolidations j on j.consolidation_id = u.id order by u.place;
end
$$;

comment on function strata.consolidate_weeks(text, regclass[]) is
  'Consolidates these weeks of a set in one transaction; one that fails is reported as FAILED with its error and left as it was, the others go on. Writers of a week wait from its turn until the transaction ends, everybody for the moment of the swaps at its end: commit at once, or call strata.consolidate_old_weeks_singly(), which commits week by week.';
--! EndIncluded functions/consolidate_weeks.sql
--! Included functions/consolidate_old_weeks.sql
create or replace function strata.consolidate_old_weeks(set_name text, months int default 3, dry_run boolean default true)
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
  if coalesce(dry_run, true) then
    return query
      select o.week_key,
             case when o.kind not in ('hash', 'list') then 'SKIPPED' when o.refusal is not null then 'REFUSED' else 'DRY RUN' end,
             e.row_count, o.total_bytes, e.bytes_after, e.predicted_saving,
             coalesce(o.refusal, format('would merge %s partitions with about %s rows, %s into about %s', o.leaves, e.row_count,
                                        pg_size_pretty(o.total_bytes), pg_size_pretty(e.bytes_after)))
        from strata.old_weeks(consolidate_old_weeks.set_name, consolidate_old_weeks.months) o
        left join lateral strata.estimate_week_saving(consolidate_old_weeks.set_name, o.partition) e on o.refusal is null
       order by o.lower_bound nulls last;
    return;
  end if;
  perform strata.require_months(consolidate_old_weeks.months);
  perform strata.lock_maintenance(consolidate_old_weeks.set_name);
  return query
    select o.week_key, 'SKIPPED', null::bigint, o.total_bytes, null::bigint, null::numeric, o.refusal
      from strata.old_weeks(consolidate_old_weeks.set_name, consolidate_old_weeks.months) o where o.kind not in ('hash', 'list');
  return query
    select c.* from strata.consolidate_weeks(consolidate_old_weeks.set_name, array(
      select o.partition from strata.old_weeks(consolidate_old_weeks.set_name, consolidate_old_weeks.months) o
       where o.kind in ('hash', 'list') order by o.lower_bound)) c;
  -- Last, for it locks the parent until the transaction ends.
  perform strata.flatten_weeks(consolidate_old_weeks.set_name);
end
$$;

comment on function strata.consolidate_old_weeks(text, int, boolean) is
  'Consolidates every week of a set that ended at least that many months ago; by default only says what it would do, and how much each week would save. See strata.consolidate_weeks() for who waits.';
--! EndIncluded functions/consolidate_old_weeks.sql
--! Included functions/consolidate_week.sql
create or replace function strata.consolidate_week(set_name text, week text, start_time timestamptz default null, end_time timestamptz default null)
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  w record;
begin
  perform strata.require_set(consolidate_week.set_name);
  select i.* into w from strata.week_info(consolidate_week.set_name) i
   where i.kind in ('hash', 'list', 'consolidated') and strata.week_key(i.lower_bound) = consolidate_week.week;
  if w.partition is null then
    raise exception 'the set % has no week %', consolidate_week.set_name, coalesce(quote_literal(consolidate_week.week), 'null')
      using errcode = 'undefined_object', hint = 'Its weeks: select week_key from strata.consolidation_status(…).';
  end if;
  -- The bounds as instants, or as the dates they read as in UTC, in whatever time zone the caller is.
  if (start_time <> w.lower_bound and start_time::timestamp <> w.lower_bound at time zone 'UTC')
     or (end_time <> w.upper_bound and end_time::timestamp <> w.upper_bound at time zone 'UTC') then
    raise exception 'week % is % to %, not % to %', consolidate_week.week, w.lower_bound, w.upper_bound, start_time, end_time
      using errcode = 'invalid_parameter_value', hint = 'Weeks go from Sunday 00:00 UTC to the next; the bounds may be left out.';
  end if;
  return query select c.* from strata.consolidate_weeks(consolidate_week.set_name, array[w.partition]) c;
end
$$;

comment on function strata.consolidate_week(text, text, timestamptz, timestamptz) is
  'Consolidates one week, given by its key (2026_01_04); the bounds, where given, must be its own. See strata.consolidate_weeks() for who waits.';
--! EndIncluded functions/consolidate_week.sql
--! Included functions/consolidate_old_weeks_singly.sql
create or replace procedure strata.consolidate_old_weeks_singly(set_name text, months int default 3)
language plpgsql
as $$
declare
  week   regclass;
  result record;
begin
  -- A procedure that commits may not pin its search_path; each of its transactions begins with it instead.
  perform pg_catalog.set_config('search_path', 'pg_catalog, strata, pg_temp', true);
  for week in
    select o.partition from strata.old_weeks(set_name, months) o where o.kind in ('hash', 'list') order by o.lower_bound
  loop
    perform pg_catalog.set_config('search_path', 'pg_catalog, strata, pg_temp', true);
    for result in select * from strata.consolidate_weeks(set_name, array[week]) loop
      raise notice '% %: %', result.week_key, result.status, result.message;
    end loop;
    commit;
    perform strata.flatten_weeks(set_name);
    commit;
  end loop;
end
$$;

comment on procedure strata.consolidate_old_weeks_singly(text, int) is
  'As consolidate_old_weeks(set_name, months, false), but commits after each week: writers of one week wait at a time, and the parent is free again after each swap. Call it outside a transaction; the results are notices, and rows of strata.consolidations.';
--! EndIncluded functions/consolidate_old_weeks_singly.sql
--! Included functions/get_account_balance_partition_info.sql
create or replace function strata.get_account_balance_partition_info()
returns table (
  schemaname text, tablename text, week_key text, week_start timestamptz, week_end timestamptz, partition_type text,
  row_count bigint, size text, size_bytes bigint, index_bytes bigint
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.partition_info('account_balances');
end;

comment on function strata.get_account_balance_partition_info() is
  'strata.partition_info() of account_balances: every table with rows of it, its week and sizes.';
--! EndIncluded functions/get_account_balance_partition_info.sql
--! Included functions/ensure_account_balance_partitions.sql
create or replace function strata.ensure_account_balance_partitions(start_time timestamptz, end_time timestamptz)
returns table (week_start timestamptz, partition regclass, created boolean)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.ensure_weeks('account_balances', start_time, greatest(start_time, end_time - interval '1 microsecond'));
end;

comment on function strata.ensure_account_balance_partitions(timestamptz, timestamptz) is
  'Creates the weeks of account_balances that are missing from start_time up to, and not including, end_time.';
--! EndIncluded functions/ensure_account_balance_partitions.sql
--! Included functions/find_missing_partitions.sql
create or replace function strata.find_missing_partitions()
returns table (week_key text, week_start timestamptz, week_end timestamptz, status text, advice text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.find_missing_weeks('account_balances');
end;

comment on function strata.find_missing_partitions() is
  'strata.find_missing_weeks() of account_balances: gaps, and weeks that should have been created ahead.';
--! EndIncluded functions/find_missing_partitions.sql
--! Included functions/check_partition_distribution.sql
create or replace function strata.check_partition_distribution()
returns table (
  week_key text, tablename text, row_count bigint, size_bytes bigint, row_share numeric, expected_share numeric, skewed boolean
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.partition_distribution('account_balances');
end;

comment on function strata.check_partition_distribution() is
  'strata.partition_distribution() of account_balances: how evenly accounts spread over the hash partitions.';
--! EndIncluded functions/check_partition_distribution.sql
--! Included functions/explain_account_balance_query.sql
create or replace function strata.explain_account_balance_query(start_time timestamptz, end_time timestamptz, account text default null)
returns table (query_plan text)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.explain_query('account_balances', start_time, end_time, account);
end;

comment on function strata.explain_account_balance_query(timestamptz, timestamptz, text) is
  'strata.explain_query() of account_balances: the plan of reading an account''s balances, and how many partitions it reads.';
--! EndIncluded functions/explain_account_balance_query.sql
--! Included functions/get_partition_consolidation_status.sql
create or replace function strata.get_partition_consolidation_status()
returns table (
  week_key text, week_start timestamptz, week_end timestamptz, partition_type text, partition_count int, row_count bigint,
  total_size text, total_bytes bigint, due boolean, advice text
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.consolidation_status('account_balances');
end;

comment on function strata.get_partition_consolidation_status() is
  'strata.consolidation_status() of account_balances: which weeks are partitioned, consolidated or due.';
--! EndIncluded functions/get_partition_consolidation_status.sql
--! Included functions/consolidate_week_hash_partitions.sql
create or replace function strata.consolidate_week_hash_partitions(
  week text, start_time timestamptz default null, end_time timestamptz default null
)
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.consolidate_week('account_balances', week, start_time, end_time);
end;

comment on function strata.consolidate_week_hash_partitions(text, timestamptz, timestamptz) is
  'strata.consolidate_week() of account_balances: merges one week''s partitions now.';
--! EndIncluded functions/consolidate_week_hash_partitions.sql
--! Included functions/consolidate_old_hash_partitions.sql
create or replace function strata.consolidate_old_hash_partitions(months int default 3, dry_run boolean default true)
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.consolidate_old_weeks('account_balances', months, dry_run);
end;

comment on function strata.consolidate_old_hash_partitions(int, boolean) is
  'strata.consolidate_old_weeks() of account_balances: merges every week older than that many months; by default only says what it would do.';
--! EndIncluded functions/consolidate_old_hash_partitions.sql
--! Included functions/estimate_consolidation_savings.sql
create or replace function strata.estimate_consolidation_savings(months int default 3)
returns table (
  week_key text, partition_count int, row_count bigint, current_size text, estimated_size text, estimated_savings text,
  bytes_before bigint, bytes_after bigint, predicted_saving numeric
)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.estimate_savings('account_balances', months);
end;

comment on function strata.estimate_consolidation_savings(int) is
  'strata.estimate_savings() of account_balances: what merging its old weeks would save, measured.';
--! EndIncluded functions/estimate_consolidation_savings.sql
--! Included functions/weekly_consolidation_report.sql
create or replace function strata.weekly_consolidation_report()
returns table (metric text, value text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select * from strata.consolidation_report('account_balances');
end;

comment on function strata.weekly_consolidation_report() is
  'strata.consolidation_report() of account_balances: its weeks, tables, savings and failures in twelve figures.';
--! EndIncluded functions/weekly_consolidation_report.sql
alter table strata.partition_sets add constraint usable_groups check (strata.check_groups(set_name, groups));

--! Included functions/role_text.sql
create or replace function strata.role_text(role oid) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return case when role = 0 then 'public' else quote_ident(pg_get_userbyid(role)) end;

comment on function strata.role_text(oid) is 'A role as it stands in GRANT and CREATE POLICY; 0 is public.';
--! EndIncluded functions/role_text.sql
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
    )
    select from part join pg_class c on c.oid = part.inhrelid and c.relkind = 'r' where pg_relation_size(c.oid) > 0
  ) then
    return false;
  end if;
  return exists (select from strata.account_balances);
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
  create temp table late_periods (
    account_address bytea not null, asset_id bigint not null, period timestamptz not null, change_count int not null,
    running numeric not null, running_opened numeric not null, next_period timestamptz, stored boolean not null, prior numeric
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

  if not exists (select from pg_temp.late_deltas where change_count < 0) then
    return;
  end if;
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
  until      timestamptz;
  since      timestamptz;
  first_week timestamptz;
begin
  -- What lies before the rows that retention has left needs no row of its own; it still adds to the later ones.
  execute format($periods$
    insert into pg_temp.late_periods (account_address, asset_id, period, change_count, running, running_opened, next_period, stored)
    select l.*, period < %3$L or exists (
             select from strata.account_balances b
              where b.account_address = l.account_address and b.asset_id = l.asset_id and b."timestamp" = l.period
                and b."timestamp" between %1$L and %2$L)
      from (
        select account_address, asset_id, period, change_count, sum(delta) over key as running,
               coalesce(sum(delta) filter (where period < %3$L) over key, 0) as running_opened, lead(period) over key as next_period
          from pg_temp.late_deltas
        window key as (partition by account_address, asset_id order by period)
      ) l
  $periods$, earliest, latest, opened);

  -- Most keys have a row within a month; for the others one week after the other, because to plan for years of weeks costs
  -- more than to look into the few that are needed.
  until := latest;
  since := greatest(opened, strata.week_start(earliest) - interval '28 days');
  while exists (select from pg_temp.late_periods where not stored and prior is null) loop
    execute format($prior$
      update pg_temp.late_periods t set prior = found.balance
        from (
          select p.ctid as place, r.balance
            from pg_temp.late_periods p
           cross join lateral (
             select b.balance from strata.account_balances b
              where b.account_address = p.account_address and b.asset_id = p.asset_id and b."timestamp" < p.period
                and b."timestamp" >= %1$L and b."timestamp" < %2$L
              order by b."timestamp" desc limit 1
           ) r
           where not p.stored and p.prior is null
        ) found
       where t.ctid = found.place
    $prior$, since, until);
    if first_week is null then
      select coalesce(min(w.lower_bound), 'infinity') into first_week from strata.set_partitions('account_balances') w;
    end if;
    exit when since <= greatest(opened, first_week);
    until := since;
    since := greatest(opened, since - interval '7 days');
  end loop;
end
$$;

comment on function strata.find_late_priors(timestamptz, timestamptz, timestamptz) is
  'The part of fold_late_deltas() that lists the touched periods in pg_temp.late_periods, says which have a row already, and finds the balance of the last row before each of the others.';
--! EndIncluded functions/find_late_priors.sql
--! Included functions/drop_emptied_periods.sql
create or replace function strata.drop_emptied_periods(earliest timestamptz, latest timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  excess record;
begin
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
end
$$;

comment on function strata.drop_emptied_periods(timestamptz, timestamptz) is
  'The part of fold_late_deltas() for changes taken back: rows that lost their last change go; a row that would owe changes is an error.';
--! EndIncluded functions/drop_emptied_periods.sql
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

  -- Rows from the first touched period on take the sum of what lies at or before them; periods without a row get one,
  -- seeded from the last row before. The bounds are literals, so that the weeks before the earliest period are pruned when
  -- the statement is planned.
  execute format($fold$
    with added as (
      insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
      select l.account_address, l.asset_id, l.period,
             coalesce(l.prior + l.running, opening.balance + l.running - l.running_opened, l.running), l.change_count
        from pg_temp.late_periods l
        left join strata.account_balances_opening opening
          on opening.account_address = l.account_address and opening.asset_id = l.asset_id
       where not l.stored
       order by l.account_address, l.asset_id, l.period
    ), late as materialized (
      select * from pg_temp.late_periods order by account_address, asset_id, period
    )
    update strata.account_balances b
       set balance = b.balance + l.running,
           change_count = b.change_count + case when b."timestamp" = l.period then l.change_count else 0 end
      from late l
     where b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" >= %1$L and b."timestamp" >= l.period
       and (l.next_period is null or b."timestamp" < l.next_period) and b."timestamp" < %2$L
  $fold$, earliest, until);

  if exists (select from pg_temp.late_deltas where change_count < 0) then
    perform strata.drop_emptied_periods(earliest, latest);
  end if;
  delete from pg_temp.late_periods;
  perform strata.fold_late_state();
end
$$;

comment on function strata.fold_late_deltas(timestamptz) is
  'The part of fold_deltas() for keys whose history is touched: late changes and changes taken back. Cost follows the rows behind the earliest touched period of those keys. Rows from until on are left alone.';
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
-- Estimates of staging rows are guesses; a hash join of them is right for two rows and for two hundred thousand.
set enable_nestloop = off
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
--! Included functions/week_leaves.sql
create or replace function strata.week_leaves(set_name text, instant timestamptz)
returns table (week regclass, leaf regclass, modulus int, remainder int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select w.partition, i.inhrelid::regclass, bound.parts[1]::int, bound.parts[2]::int
    from strata.set_partitions(week_leaves.set_name) w
    join pg_inherits i on i.inhparent = w.partition
    join pg_class c on c.oid = i.inhrelid
   cross join lateral (
     select regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES WITH \(modulus (\d+), remainder (\d+)\)$') as parts
   ) bound
   where w.lower_bound <= instant and instant < w.upper_bound and bound.parts is not null;
end;

comment on function strata.week_leaves(text, timestamptz) is
  'The hash partitions of the week that holds the instant; none for a week that is consolidated or cut otherwise.';
--! EndIncluded functions/week_leaves.sql
--! Included functions/open_fresh_leaf.sql
create or replace function strata.open_fresh_leaf(leaf regclass) returns regclass
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  schema_name name;
  fresh       name := 'fresh_' || leaf::oid;
  has_rows    boolean;
  storage     text;
begin
  execute format('select exists (select from %s)', leaf) into has_rows;
  if has_rows then
    return leaf;
  end if;
  select n.nspname, coalesce(format(' with (%s)', array_to_string(c.reloptions, ', ')), '') into strict schema_name, storage
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = leaf;
  execute format('create table %I.%I (like %s including defaults including constraints including storage including compression)%s',
    schema_name, fresh, leaf, storage);
  return format('%I.%I', schema_name, fresh)::regclass;
end
$$;

comment on function strata.open_fresh_leaf(regclass) is
  'An empty table like this empty partition, without its indexes, to be filled and put in its place by place_week_partition(); the partition itself when it has rows.';
--! EndIncluded functions/open_fresh_leaf.sql
--! Included functions/build_indexes_like.sql
create or replace function strata.build_indexes_like(model regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  statement text;
begin
  for statement in
    select case
             when con.oid is not null then format('alter table %s add %s', target, pg_get_constraintdef(con.oid))
             else format('create %sindex on %s%s', case when i.indisunique then 'unique ' else '' end, target,
                         substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), ' USING ')))
           end
      from pg_index i
      left join pg_constraint con on con.conindid = i.indexrelid and con.contype in ('p', 'u') and con.conrelid = model
     where i.indrelid = model and i.indisvalid
     order by i.indisprimary desc, i.indexrelid
  loop
    execute statement;
  end loop;
end
$$;

comment on function strata.build_indexes_like(regclass, regclass) is
  'Builds on one table the primary key, unique constraints and indexes of another, so that an ATTACH in its place finds them.';
--! EndIncluded functions/build_indexes_like.sql
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
  $state$, balances, state);
end
$$;

comment on function strata.advance_state(regclass, regclass) is
  'Brings the state (or one partition of it) to the newest rows of a table of balances that are newer than all it knows of their keys.';
--! EndIncluded functions/advance_state.sql
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
  execute format($fold$
    insert into %1$s (account_address, asset_id, "timestamp", balance, change_count)
    select p.account_address, p.asset_id, p.period,
           coalesce(s.balance, 0) + sum(p.delta) over (partition by p.account_address, p.asset_id order by p.period rows unbounded preceding),
           p.change_count
      from (
        select c.account_address, c.asset_id, date_bin(%4$s, c.block_time, timestamptz '1970-01-01 00:00:00+00') as period,
               sum(c.delta) as delta, count(*)::int as change_count
          from (select c.account_address, c.asset_id, c.block_time, c.delta from %2$s) c
         group by 1, 2, 3
      ) p
      left join %3$s s on s.account_address = p.account_address and s.asset_id = p.asset_id
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
  execute format('alter table %s rename to %I', fresh, leaf_name);
  execute format('alter table %s attach partition %s for values with (modulus %s, remainder %s)',
    place.week, fresh, place.modulus, place.remainder);
  execute format('alter table %s drop constraint fresh_hash', fresh);
end
$$;

comment on function strata.place_week_partition(timestamptz, int) is
  'The second half of fold_week_partition(): puts the table that was filled beside the set into the place of the empty partition, without a scan.';
--! EndIncluded functions/place_week_partition.sql
--! Included functions/fold_week_partition.sql
create or replace function strata.fold_week_partition(week_start timestamptz, remainder int) returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  folded bigint;
begin
  perform strata.share_gates('account_balances');
  folded := strata.fill_week_partition(week_start, remainder);
  perform strata.place_week_partition(week_start, remainder);
  return folded;
end
$$;

comment on function strata.fold_week_partition(timestamptz, int) is
  'fold_week() for one hash partition of the week, so that several connections can share the work; returns the balance rows written. The week must exist.';
--! EndIncluded functions/fold_week_partition.sql
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
  if min_time < (select s.retained_from from strata.partition_sets s where s.set_name = 'balance_changes') then
    raise exception 'a reorg reaches back to balance changes of %, which are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Undo the retention of balance_changes, and retain more weeks of it than reorgs are deep.';
  end if;
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
  if min_time < (select greatest(s.observations_from, s.opened_before) from strata.balance_status s) then
    raise exception 'a reorg reaches back to snapshots of %, which, or whose balances, are no longer retained', min_time
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
--! Included functions/refuse_dropped.sql
create or replace function strata.refuse_dropped(set_name text, source_id smallint, from_block bigint, to_block bigint) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  earliest timestamptz;
  retained timestamptz;
begin
  -- Retention moves on under this lock: whoever has got it sees either all of a retention or nothing.
  perform strata.lock_fold();
  select min(b.min_time) into earliest from strata.stream_batches b
   where b.source_id = refuse_dropped.source_id and b.start_block between from_block and to_block;
  select s.retained_from into retained from strata.partition_sets s where s.set_name = refuse_dropped.set_name;
  if earliest < retained then
    raise exception 'retention has meanwhile dropped the weeks of % before %; these rows begin at %', refuse_dropped.set_name, retained, earliest
      using errcode = 'serialization_failure', hint = 'Load again: rows of that time go to quarantine.';
  end if;
end
$$;

comment on function strata.refuse_dropped(text, smallint, bigint, bigint) is
  'Refuses to commit blocks (both inclusive, their ledger rows written) with rows of a time that retention has dropped since they were read; a load calls it before its fold. Takes the lock of the fold.';
--! EndIncluded functions/refuse_dropped.sql
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
--! Included functions/open_label_stage.sql
create or replace function strata.open_label_stage(stage name, target regclass, columns text[], sort_memory bigint) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  filled boolean;
begin
  -- Enough for the hash of a large label table; until the end of the transaction.
  if pg_size_bytes(current_setting('work_mem')) < sort_memory then
    perform set_config('work_mem', (sort_memory / 1024) || 'kB', true);
  end if;
  if to_regclass('pg_temp.label_misses') is null then
    create temp table label_misses (batch_id bigint not null, unmatched bigint not null, dropped bigint not null) on commit delete rows;
  end if;
  if to_regclass(format('pg_temp.%I', stage)) is null then
    execute format('create temp table %I on commit delete rows as select %s from %s with no data',
      stage, (select string_agg(quote_ident(c), ', ' order by place) from unnest(columns) with ordinality u(c, place)), target);
    return;
  end if;
  -- An earlier part of the same transaction may have left its rows.
  execute format('select exists (select from pg_temp.%I)', stage) into filled;
  if filled then
    execute format('truncate pg_temp.%I', stage);
  end if;
end
$$;

comment on function strata.open_label_stage(name, regclass, text[], bigint) is
  'Makes the session''s empty stage for rows that wait for their labels, with the given columns of their target, and pg_temp.label_misses, which counts per batch what found none; both are emptied at each commit. Gives the transaction at least sort_memory bytes of work_mem.';
--! EndIncluded functions/open_label_stage.sql
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
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from strata.account_balances where "timestamp" < %1$L and "timestamp" >= %2$L
       order by account_address, asset_id, "timestamp" desc
    ), held as (
      insert into strata.held_openings (retention_id, account_address, asset_id, balance, "timestamp")
      select %3$L, c.account_address, c.asset_id, o.balance, o."timestamp"
        from carried c
        left join strata.account_balances_opening o on o.account_address = c.account_address and o.asset_id = c.asset_id
       where %3$L is not null
    )
    insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
    select account_address, asset_id, balance, "timestamp" from carried
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
--! Included functions/waiting_since.sql
create or replace function strata.waiting_since() returns timestamptz
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select min(b.min_time)
    from strata.stream_batches b
    join strata.sources src on src.source_id = b.source_id
    join strata.streams st on st.stream = src.stream and st.load = 'transfers'
   where b.end_block > coalesce(
     (select case count(*) when 4 then min(p.folded_block) end from strata.fold_progress p where p.source_id = b.source_id), -1);
end;

comment on function strata.waiting_since() is
  'The time of the earliest loaded balance change that may wait to be folded; null when none does. Retention keeps what is later.';
--! EndIncluded functions/waiting_since.sql
--! Included functions/begin_retention.sql
create or replace function strata.begin_retention(set_name text, cutoff timestamptz, partitions regclass[]) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  s       strata.partition_sets;
  wrong   text;
  waiting timestamptz;
  id      bigint;
begin
  if set_name in ('account_balances', 'balance_changes', 'snapshot_rows') then
    perform strata.lock_fold();
  end if;
  select * into strict s from strata.partition_sets p where p.set_name = begin_retention.set_name for update;
  select string_agg(u.part::text, ', ') into wrong
    from unnest(partitions) u (part)
   where not exists (select from strata.set_partitions(s.set_name) p where p.partition = u.part and p.upper_bound <= cutoff);
  if wrong is not null or cutoff <> strata.week_start(cutoff) or cutoff < s.retained_from then
    raise exception 'cannot retain % from % on: % end later, are not attached, or the cutoff is none', s.set_name, cutoff, coalesce(wrong, 'no weeks')
      using errcode = 'object_not_in_prerequisite_state', hint = 'Plan again; nothing was done.';
  end if;

  insert into strata.retentions (set_name, cutoff, retained_before, floor_before)
  select s.set_name, cutoff, s.retained_from,
         case s.set_name when 'account_balances' then b.opened_before when 'balance_changes' then b.changes_from else b.observations_from end
    from strata.balance_status b
  returning retention_id into id;
  case s.set_name
    when 'account_balances' then
      perform strata.carry_forward_openings(cutoff, id);
    when 'balance_changes' then
      waiting := strata.waiting_since();
      if waiting < cutoff then
        raise exception 'balance changes from % on wait to be folded', waiting
          using errcode = 'object_not_in_prerequisite_state', hint = 'Run pgstrata fold first.';
      end if;
      perform strata.note_changes_dropped(cutoff);
    when 'snapshot_rows' then
      perform strata.note_snapshots_dropped(cutoff);
    else null;
  end case;
  update strata.partition_sets p set retained_from = cutoff where p.set_name = s.set_name;
  insert into strata.held_partitions (set_name, lower_bound, upper_bound, reason, partition, partition_name, bytes, row_count,
                                      retention_id, state, drop_after)
  select s.set_name, w.lower_bound, w.upper_bound, 'retained', w.partition, w.partition_name, w.total_bytes, w.row_estimate,
         id, 'detaching', 'infinity'
    from strata.week_info(s.set_name) w where w.partition = any (partitions)
   order by w.lower_bound;
  return id;
end
$$;

comment on function strata.begin_retention(text, timestamptz, regclass[]) is
  'Takes weeks that end at or before the cutoff (a week''s start) out of the reckoning, in one transaction: opening balances are written, what they write over is kept, reads, verify, rebuild and loads go from the cutoff on, and the weeks are journaled as detaching. They are still attached: DETACH … CONCURRENTLY each, then hold_partition(). Returns the retention, for undo_retention().';
--! EndIncluded functions/begin_retention.sql
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
    from pg_partition_tree(hold_partition.partition) t join pg_class c on c.oid = t.relid
   where to_regclass(format('strata_held.%I', c.relname)) <> t.relid;
  if names is not null then
    raise exception 'strata_held has tables named % already', names
      using errcode = 'duplicate_table', hint = 'Drop or rename those; then retain again, which goes on from here.';
  end if;
  for part in select t.relid from pg_partition_tree(hold_partition.partition) t join pg_class c on c.oid = t.relid
               where c.relnamespace <> 'strata_held'::regnamespace loop
    execute format('alter table %s set schema strata_held', part);
  end loop;
  perform strata.guard_detached(hold_partition.partition);
  update strata.held_partitions j
     set state = 'held', detached_at = clock_timestamp(),
         drop_after = clock_timestamp() + (select s.hold from strata.partition_sets s where s.set_name = h.set_name),
         bytes = (select sum(pg_total_relation_size(t.relid)) from pg_partition_tree(hold_partition.partition) t)
   where j.held_id = h.held_id;
  return h.held_id;
end
$$;

comment on function strata.hold_partition(regclass) is
  'Moves a detached week and its leaves to schema strata_held under their own names, to be dropped after the set''s hold; the last step of taking a week out.';
--! EndIncluded functions/hold_partition.sql
--! Included functions/drop_held.sql
create or replace function strata.drop_held(held_id bigint) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  h    strata.held_partitions;
  name text;
begin
  select * into h from strata.held_partitions j where j.held_id = drop_held.held_id for update;
  if h.state is distinct from 'held' or h.drop_after > clock_timestamp() then
    raise exception 'held partition % is %', drop_held.held_id, case when h.state = 'held' then format('kept until %s', h.drop_after) else coalesce(h.state, 'unknown') end
      using errcode = 'object_not_in_prerequisite_state', hint = 'strata.held_partitions says what may be dropped, and when.';
  end if;
  select format('%I.%I', n.nspname, c.relname) into name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = h.partition;
  if exists (select from pg_inherits i where i.inhrelid = h.partition)
     or (select c.relnamespace from pg_class c where c.oid = h.partition) <> 'strata_held'::regnamespace then
    raise exception '% is in use: it is attached, or no longer in strata_held', name
      using errcode = 'object_in_use', hint = 'If somebody put it back on purpose, set its state to reattached in strata.held_partitions.';
  end if;
  if name is not null then
    execute format('drop table %s', name);
  end if;
  update strata.held_partitions j set state = 'dropped', finished_at = clock_timestamp() where j.held_id = h.held_id;
  if h.retention_id is not null
     and not exists (select from strata.held_partitions j where j.retention_id = h.retention_id and j.finished_at is null) then
    update strata.retentions r set dropped_at = clock_timestamp() where r.retention_id = h.retention_id;
    delete from strata.held_openings o where o.retention_id = h.retention_id;
    delete from strata.held_deltas d where d.retention_id = h.retention_id;
  end if;
  return h.bytes;
end
$$;

comment on function strata.drop_held(bigint) is
  'Drops a held week whose time has come, and with the last week of a retention all that was kept for undoing it; returns the bytes freed.';
--! EndIncluded functions/drop_held.sql
--! Included functions/put_back_openings.sql
create or replace function strata.put_back_openings(retention_id bigint, cutoff timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
as $$
#variable_conflict use_column
begin
  delete from strata.account_balances_opening o using strata.held_openings h
   where h.retention_id = put_back_openings.retention_id
     and o.account_address = h.account_address and o.asset_id = h.asset_id;
  insert into strata.account_balances_opening (account_address, asset_id, balance, "timestamp")
  select h.account_address, h.asset_id, h.balance, h."timestamp"
    from strata.held_openings h
   where h.retention_id = put_back_openings.retention_id and h.balance is not null;

  -- What came late meanwhile went into openings that are gone now: it is folded into the rows that are back, and only
  -- into those; later ones and the state have it already.
  perform strata.open_deltas();
  insert into pg_temp.late_deltas (account_address, asset_id, period, delta, change_count, state_done)
  select d.account_address, d.asset_id, d.period, d.delta, d.change_count, true
    from strata.held_deltas d
   where d.retention_id = put_back_openings.retention_id and (d.delta <> 0 or d.change_count <> 0);
  if found then
    perform strata.fold_late_deltas(cutoff);
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
           and b."timestamp" >= (select s.opened_before from strata.balance_status s)
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
end
$$;

comment on function strata.put_back_openings(bigint, timestamptz) is
  'The part of undo_retention() for balances: opening rows are again what they were before the retention, and what late changes added to them since goes to the rows of its weeks, which are attached again.';
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
      update strata.balance_status set opened_before = r.floor_before, changed_at = clock_timestamp();
      perform strata.put_back_openings(r.retention_id, r.cutoff);
    when 'balance_changes' then
      update strata.balance_status set changes_from = greatest(r.floor_before, lost), changed_at = clock_timestamp();
    when 'snapshot_rows' then
      update strata.balance_status set observations_from = greatest(r.floor_before, lost), changed_at = clock_timestamp();
    else null;
  end case;
  return back;
end
$$;

comment on function strata.undo_retention(bigint) is
  'Puts the weeks of the newest retention of a set back, without a scan, and with them what opening balances and balance_status said before; in one transaction. Weeks dropped already stay dropped: then balances cannot be put back, other sets from the last dropped week on. Returns the weeks that are attached again.';
--! EndIncluded functions/undo_retention.sql
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
--! Included functions/rebuild_observed.sql
create or replace function strata.rebuild_observed(
  account bytea default null, asset bigint default null, from_time timestamptz default null
) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  since   timestamptz;
  keyed   text := concat(' and r.account_address = ' || quote_literal(account), ' and r.asset_id = ' || asset);
  kind    record;
  rebuilt bigint := 0;
begin
  select date_bin(interval '1 day', greatest(from_time, s.observations_from, s.opened_before), timestamptz '1970-01-01 00:00:00+00')
    into since from strata.balance_status s;
  perform strata.open_snapshots();
  -- An asset that any of its streams stores whole is stored whole.
  for kind in
    select k.grain, k.only_changes, array_agg(k.asset_id) as assets
      from (
        select a.asset_id, a.grain, bool_and(coalesce((st.definition ->> 'only_changes')::boolean, false)) as only_changes
          from strata.assets a
          left join (select distinct r.asset_id, r.source_id from strata.snapshot_rows r) fed on fed.asset_id = a.asset_id
          left join strata.sources src on src.source_id = fed.source_id
          left join strata.streams st on st.stream = src.stream
         where a.observed and (asset is null or a.asset_id = asset)
         group by a.asset_id, a.grain
      ) k
     group by k.grain, k.only_changes
  loop
    execute format($touched$
      insert into pg_temp.snapshot_touched (account_address, asset_id, first, shrinks)
      select account_address, asset_id, %2$L, true
        from (
          select r.account_address, r.asset_id from strata.snapshot_rows r where r.observed_at >= %2$L and r.asset_id = any (%1$L)%3$s
          union
          select r.account_address, r.asset_id from strata.account_balances r where r."timestamp" >= %2$L and r.asset_id = any (%1$L)%3$s
        ) keys
    $touched$, kind.assets, since, keyed);
    rebuilt := rebuilt + strata.fold_snapshots(kind.grain, kind.only_changes);
  end loop;
  return rebuilt;
end
$$;

comment on function strata.rebuild_observed(bytea, bigint, timestamptz) is
  'The part of rebuild_balances() for observed balances: derives them again from snapshot_rows, from an instant or from where these are retained on. Returns the rows written.';
--! EndIncluded functions/rebuild_observed.sql
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
  -- Observed balances have no changes to be made from again: rebuild_observed() makes them from their snapshots.
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
  return rebuilt + strata.rebuild_observed(account, asset, from_time);
end
$$;

comment on function strata.rebuild_balances(bytea, bigint, timestamptz) is
  'Recomputes balances from the changes: of one account, of one asset, of both or of everything, from an instant on; the state follows. Observed balances are derived again from their snapshots. Returns the rows written.';
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
       sums.batches, sums.row_count, sums.quarantined, sums.first_block, sums.last_commit,
       sums.unmatched, sums.dropped
  from strata.streams s
  left join strata.sources src on src.stream = s.stream
  left join lateral (
    select end_block, hash, block_time from strata.stream_batches b
     where b.source_id = src.source_id order by start_block desc limit 1
  ) last on true
  left join lateral (
    select count(*) as batches, sum(row_count)::bigint as row_count, sum(quarantined)::bigint as quarantined,
           min(start_block) as first_block, max(committed_at) as last_commit,
           sum(unmatched)::bigint as unmatched, sum(dropped)::bigint as dropped
      from strata.stream_batches b where b.source_id = src.source_id
  ) sums on true;

comment on view strata.stream_positions is 'Where each stream stands on each network: the last committed block, and what was loaded so far';
--! EndIncluded views/stream_positions.sql
--! Included views/stream_status.sql
create or replace view strata.stream_status as
select coalesce(p.stream, h.stream) as stream, p.network, p.load, p.target,
       case when h.state <> 'stopped' and h.updated_at < now() - interval '2 minutes' then 'lost' else h.state end as state,
       p.position, p.hash, p.block_time,
       case when h.heads ? p.network then greatest((h.heads ->> p.network)::bigint, p.position) end as head,
       case when h.heads ? p.network then greatest((h.heads ->> p.network)::bigint - p.position, 0) end as lag_blocks,
       extract(epoch from now() - p.block_time)::double precision as lag_seconds,
       p.batches, p.row_count, p.quarantined, p.unmatched, p.last_commit,
       recent.row_count / 60.0::double precision as rows_per_second,
       recent.blocks / 60.0::double precision as blocks_per_second,
       gaps.gaps, gaps.gap_blocks,
       h.failures, h.retries, h.next_try_at, h.last_error, h.breaker, h.rate_delay_ms, h.updated_at as seen_at, h.host, h.pid
  from strata.stream_positions p
  full join strata.stream_health h on h.stream = p.stream
  -- The newest thousand ranges hold the last minute of all but the smallest batches.
  left join lateral (
    select coalesce(sum(b.row_count), 0)::double precision as row_count,
           coalesce(sum(b.end_block - b.start_block + 1), 0)::double precision as blocks
      from (select row_count, start_block, end_block, committed_at from strata.stream_batches
             where source_id = p.source_id order by start_block desc limit 1000) b
     where b.committed_at > now() - interval '1 minute'
  ) recent on p.source_id is not null
  left join lateral (
    select count(*) as gaps, coalesce(sum(b.start_block - b.reached - 1), 0)::bigint as gap_blocks
      from (select start_block,
                   max(end_block) over (order by start_block rows between unbounded preceding and 1 preceding) as reached
              from strata.stream_batches where source_id = p.source_id) b
     where b.start_block > b.reached + 1
  ) gaps on p.source_id is not null;

comment on view strata.stream_status is 'Each stream and network: position, head, lag, rate of the last minute, gaps, and what its process said last. lag_seconds is the age of the newest loaded block by the chain''s own time';
--! EndIncluded views/stream_status.sql
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
