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
