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
