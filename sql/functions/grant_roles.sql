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
