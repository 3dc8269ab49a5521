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
