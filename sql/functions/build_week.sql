create or replace function strata.build_week(set_name text, lower_bound timestamptz, indexed boolean default true) returns regclass
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
  cut         text;
begin
  select * into strict s from strata.partition_sets p where p.set_name = build_week.set_name;
  select n.nspname, c.relname into strict schema_name, root
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = s.parent;

  storage := case when s.leaf_fillfactor is null then '' else format(' with (fillfactor = %s)', s.leaf_fillfactor) end;
  -- On a cluster the shards of a week are its hash partitions.
  cut := case when strata.is_distributed(s.parent) then storage else format('partition by %s (%I)', s.layout, s.hash_column) end;
  -- CREATE … PARTITION OF would lock the root ACCESS EXCLUSIVE. Built apart with a CHECK that equals its bounds, the week is
  -- attached under SHARE UPDATE EXCLUSIVE and without a scan.
  execute format(
    'create table %1$I.%2$I (like %1$I.%3$I including all excluding identity %9$s, constraint %4$I check (%5$I >= %6$L and %5$I < %7$L)) %8$s',
    schema_name, week, root, week || '_bounds', s.time_column, lower_bound, upper_bound, cut,
    case when indexed then '' else 'excluding indexes' end);
  for leaf in
    select l.* from (
    select 'hash_' || remainder as name, format('for values with (modulus %s, remainder %s)', s.modulus, remainder) as bound
      from generate_series(0, s.modulus - 1) remainder where s.layout = 'hash'
    union all
    select g ->> 'name', format('for values in (%s)', (select string_agg(quote_literal(v), ', ') from jsonb_array_elements_text(g -> 'values') v))
      from jsonb_array_elements(s.groups) g
    union all
    select 'default', 'default' where s.layout = 'list') l where cut like 'partition by %'
  loop
    execute format('create table %1$I.%2$I partition of %1$I.%3$I %4$s%5$s', schema_name, week || '_' || leaf.name, week, leaf.bound, storage);
  end loop;
  -- LIKE leaves them behind.
  for part in
    select format('alter table %I.%I alter column %I set statistics %s', schema_name, week, a.attname, a.attstattarget)
      from pg_attribute a where a.attrelid = s.parent and a.attnum > 0 and not a.attisdropped and a.attstattarget >= 0
  loop
    execute part;
  end loop;
  -- Whoever owns the root can alter it only if the partitions are theirs, too.
  for part in
    select format('%I.%I', schema_name, p.relname) from pg_class p join pg_class r on r.oid = s.parent and r.relowner <> p.relowner
     where p.oid in (select t.relid from pg_partition_tree(format('%I.%I', schema_name, week)::regclass) t)
  loop
    execute format('alter table %s owner to %I', part, (select pg_get_userbyid(r.relowner) from pg_class r where r.oid = s.parent));
  end loop;
  return format('%I.%I', schema_name, week)::regclass;
end
$$;

comment on function strata.build_week(text, timestamptz, boolean) is
  'Creates one week with its hash or list partitions beside the set, with or without the set''s indexes; attach_week() makes it a part of the set. A list week has a partition of its own for values that no group names.';
