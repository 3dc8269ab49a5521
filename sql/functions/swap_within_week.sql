create or replace function strata.swap_within_week(c strata.consolidations) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- Below deadlock_timeout: it is us who give up, never somebody who waits for us.
set lock_timeout = '500ms'
as $$
declare
  s      strata.partition_sets := strata.require_set(c.set_name);
  listed boolean := (select p.partstrat = 'l' from pg_partitioned_table p where p.partrelid = c.week);
  held   text := format('strata_held.%I', c.week_name);
  leaf   record;
begin
  if exists (
    select from pg_locks waiting join pg_locks held on held.pid = waiting.pid and held.locktype = 'relation' and held.granted
     where waiting.locktype = 'relation' and not waiting.granted
       and waiting.database = (select d.oid from pg_database d where d.datname = current_database()) and held.database = waiting.database
       and waiting.relation in (select t.relid from pg_partition_tree(c.week::regclass) t)
       and held.relation in (select t.relid from pg_partition_tree(c.week::regclass) t)
  ) then
    raise exception 'a transaction that has read this week waits to write to it' using errcode = 'lock_not_available';
  end if;
  if not listed then
    -- The CHECK that a hash partition of all rows implies; checked now, while nothing but the copy is locked.
    execute format('alter table %s add constraint whole_week check (satisfies_hash_partition(%s::oid, 1, 0, %I))', c.stage::regclass, c.week, s.hash_column);
  end if;
  execute format('lock table only %s in access exclusive mode', c.week::regclass);
  perform strata.hand_over(c.week, c.stage);
  execute format('create table %s (like %s including all excluding identity) partition by %s', held, c.week::regclass, pg_get_partkeydef(c.week));
  for leaf in
    select i.inhrelid::regclass as name, pg_get_expr(l.relpartbound, l.oid) as bound
      from pg_inherits i join pg_class l on l.oid = i.inhrelid where i.inhparent = c.week
     order by pg_get_expr(l.relpartbound, l.oid) = 'DEFAULT', l.relname
  loop
    execute format('alter table %s detach partition %s', c.week::regclass, leaf.name);
    execute format('alter table %s set schema strata_held', leaf.name);
    execute format('alter table %s attach partition %s %s', held, leaf.name, leaf.bound);
  end loop;
  perform strata.copy_properties(c.week, held::regclass);
  execute format('alter table %s attach partition %s %s', c.week::regclass, c.stage::regclass,
    case when listed then 'default' else 'for values with (modulus 1, remainder 0)' end);
  if not listed then
    execute format('alter table %s drop constraint whole_week', c.stage::regclass);
  end if;
end
$$;

comment on function strata.swap_within_week(strata.consolidations) is
  'The part of swap_consolidated() that needs no lock on the parent: the copy becomes the only partition of the week, and what were its partitions go to strata_held under a table of the week''s name. Who waits to write to the week writes to the copy then; readers of this week wait while its old partitions are looked through.';
