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
