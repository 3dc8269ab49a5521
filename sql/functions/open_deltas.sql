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
