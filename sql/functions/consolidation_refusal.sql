create or replace function strata.consolidation_refusal(set_name text, week regclass) returns text
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  s     strata.partition_sets := strata.require_set(set_name);
  w     record;
  other text;
begin
  select i.* into w from strata.week_info(set_name) i where i.partition = consolidation_refusal.week;
  if w.partition is null then
    return format('%s is no partition of the set %s', consolidation_refusal.week, set_name);
  end if;
  if w.kind = 'consolidated' then
    return 'it is consolidated already';
  elsif w.kind = 'odd' then
    return 'it is not one whole week (Sunday 00:00 UTC to the next): leave it, or move its rows into weeks';
  elsif w.kind not in ('hash', 'list') then
    return format('it is a %s partition, which maintenance leaves alone', w.kind);
  elsif w.upper_bound > now() then
    return 'it is not over yet';
  elsif w.detach_pending then
    return format('a DETACH CONCURRENTLY of it was interrupted: alter table %s detach partition %s finalize, then attach it again', s.parent, w.partition);
  elsif w.leaves = 0 then
    return 'it has no partitions';
  end if;

  select string_agg(leaf.relid::text, ', ') into other
    from pg_partition_tree(w.partition) leaf join pg_class c on c.oid = leaf.relid
   where leaf.level > 0 and (leaf.level > 1 or c.relkind <> 'r');
  if other is not null then
    return format('%s is no plain table one level below the week', other);
  end if;
  select string_agg(distinct r.ev_class::regclass::text, ', ') into other
    from pg_depend d join pg_rewrite r on r.oid = d.objid
   where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
     and d.refobjid in (select t.relid from pg_partition_tree(w.partition) t);
  if other is not null then
    return format('view %s reads it by name, and would go on to read what is put away: let it read %s between two times instead', other, s.parent);
  end if;
  select string_agg(i.partition_name, ', ') into other from strata.week_info(set_name) i where i.kind = 'default';
  if other is not null then
    return format('the set has a DEFAULT partition, %s, which would be scanned while everybody waits: move its rows into weeks, then detach it', other);
  end if;
  select c.step || ' since ' || c.started_at::text into other
    from strata.consolidations c where c.set_name = s.set_name and c.lower_bound = w.lower_bound and c.finished_at is null limit 1;
  if other is not null then
    return format('a consolidation of it is unfinished (%s): finish or undo that one first', other);
  end if;
  if octet_length(w.partition_name || '_consolidated') > 63 then
    return 'its name is too long to have _consolidated put behind it: rename it to 50 bytes or fewer';
  end if;
  select string_agg(c.oid::regclass::text, ', ') into other
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where (n.oid = (select p.relnamespace from pg_class p where p.oid = w.partition) and c.relname = w.partition_name || '_consolidated')
      or (n.nspname = 'strata_held' and c.relname in (
            select l.relname from pg_partition_tree(w.partition) t join pg_class l on l.oid = t.relid));
  if other is not null then
    return format('%s is in the way: drop or rename it if nobody needs it', other);
  end if;
  return null;
end
$$;

comment on function strata.consolidation_refusal(text, regclass) is
  'Why a week cannot be consolidated as it stands, with what to do about it; null when it can.';
