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
