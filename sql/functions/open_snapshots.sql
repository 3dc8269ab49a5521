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
