create or replace function strata.place_week_partition(week_start timestamptz, remainder int) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  place       record;
  schema_name name;
  leaf_name   name;
  fresh       regclass;
  index_name  name;
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
  for index_name in select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = fresh and c.relname like 'fresh%' loop
    execute format('alter index %I.%I rename to %I', schema_name, index_name, replace(index_name, 'fresh_' || place.leaf::oid, leaf_name));
  end loop;
  execute format('alter table %s rename to %I', fresh, leaf_name);
  execute format('alter table %s attach partition %s for values with (modulus %s, remainder %s)',
    place.week, fresh, place.modulus, place.remainder);
  execute format('alter table %s drop constraint fresh_hash', fresh);
end
$$;

comment on function strata.place_week_partition(timestamptz, int) is
  'The second half of fold_week_partition(): puts the table that was filled beside the set into the place of the empty partition, without a scan.';
