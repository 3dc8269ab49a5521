create or replace function strata.consolidation_obstacles(set_name text, week regclass)
returns table (obstacle text, remedy text, concerns text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  with parts as (
    select c.oid, c.relname, c.relkind, c.relpersistence, c.relowner, n.nspname, c.oid = week as is_week
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = week or c.oid in (select i.inhrelid from pg_inherits i where i.inhparent = week)
  ),
  root as (
    select i.inhparent as oid from pg_inherits i where i.inhrelid = week
  ),
  involved as (
    select oid from parts union all select oid from root
  ),
  taken as (  -- names that consolidating makes, and where
    select p.nspname as schema_name, p.relname || '_consolidated' as name from parts p where p.is_week
    union all
    select 'strata_held', p.relname::text from parts p
    union all
    select 'strata_held', p.relname || suffix from parts p, unnest(array['_capture', '_reverse']) suffix where p.is_week
  )
  select o.obstacle, o.remedy, 'week'
    from strata.week_info(set_name) w
    cross join lateral (
      select 'it is consolidated already', 'There is nothing to do.' where w.kind = 'consolidated'
      union all
      select 'it is not one whole week (Sunday 00:00 UTC to the next)', 'Leave it, or move its rows into weeks.' where w.kind = 'odd'
      union all
      select 'its hash partitions are the shards of a cluster', 'They are not merged: pgstrata maintain consolidate stores old weeks of balance_changes by column.' where w.kind in ('sharded', 'columnar')
      union all
      select format('it is a %s partition', w.kind), 'Maintenance leaves it alone.' where w.kind not in ('consolidated', 'odd', 'hash', 'list', 'sharded', 'columnar')
      union all
      select 'it has no partitions', 'There is nothing to merge.' where w.kind in ('hash', 'list') and w.leaves = 0
      union all
      select 'it is not over yet', 'Wait until it is.' where w.kind in ('hash', 'list') and w.upper_bound > now()
      union all
      select format('a consolidation of it is unfinished (%s since %s)', c.step, c.started_at), 'Finish or undo that one first: pgstrata maintain consolidate.'
        from strata.consolidations c
       where c.set_name = consolidation_obstacles.set_name and c.lower_bound = w.lower_bound and c.finished_at is null and w.kind <> 'consolidated'
    ) o (obstacle, remedy)
   where w.partition = week
  union all
  select format('the set has a DEFAULT partition, %s, which every attach would scan while all queries wait', t.partdefid::regclass),
         'Move its rows into weeks and drop it; what is out of bounds belongs into strata.quarantine.', 'week'
    from pg_partitioned_table t join root r on r.oid = t.partrelid where t.partdefid <> 0
  union all
  select format('the detach of %s was interrupted', i.inhrelid::regclass),
         format('Finish it: ALTER TABLE %s DETACH PARTITION %s FINALIZE;', i.inhparent::regclass, i.inhrelid::regclass), 'week'
    from pg_inherits i join root r on r.oid = i.inhparent where i.inhdetachpending
  union all
  select 'the table has no primary key to follow changes by', 'Add a PRIMARY KEY to the parent.', 'online'
    from root r where not exists (select from pg_constraint k where k.conrelid = r.oid and k.contype = 'p')
  union all
  select format('the foreign key %I ties %s to other tables', k.conname, k.conrelid::regclass),
         'Drop it: partitions cannot be exchanged under a foreign key without checking every row.', 'online'
    from pg_constraint k
   where k.contype = 'f' and k.conparentid = 0 and (k.conrelid in (select oid from involved) or k.confrelid in (select oid from involved))
  union all
  select format('%s has the exclusion constraint %I', k.conrelid::regclass, k.conname), 'Drop it, or leave this set''s weeks as they are.', 'week'
    from pg_constraint k where k.contype = 'x' and k.conrelid = week
  union all
  select format('%s is no ordinary, logged table', p.oid::regclass), 'Only ordinary leaves can be merged.',
         case when p.relkind <> 'r' then 'week' else 'online' end
    from parts p where not p.is_week and (p.relkind <> 'r' or p.relpersistence <> 'p')
  union all
  select format('%s lies in another schema than its week', p.oid::regclass), 'Move it: ALTER TABLE … SET SCHEMA.', 'online'
    from parts p where p.nspname <> (select w.nspname from parts w where w.is_week)
  union all
  select format('%s has the trigger %I of its own', g.tgrelid::regclass, g.tgname), 'Create it on the week or on the parent, or drop it.', 'week'
    from pg_trigger g join parts p on p.oid = g.tgrelid
   where not p.is_week and not g.tgisinternal and g.tgparentid = 0
  union all
  select format('%s has the index %s of its own', x.indrelid::regclass, x.indexrelid::regclass), 'Create it on the parent, or drop it.', 'online'
    from pg_index x join parts p on p.oid = x.indrelid
   where not p.is_week and not exists (select from pg_inherits i where i.inhrelid = x.indexrelid)
  union all
  select format('%s is used by the view or rule of %s', d.refobjid::regclass, w.ev_class::regclass), 'Let it read the parent instead.', 'week'
    from pg_depend d
    join pg_rewrite w on w.oid = d.objid
   where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from parts)
   group by d.refobjid, w.ev_class
  union all
  select format('the name %s is too long to derive others from', quote_ident(p.relname)), 'Rename the week: at most 50 bytes.', 'week'
    from parts p where p.is_week and octet_length(p.relname) > 50
  union all
  select format('there is a %I.%I already', t.schema_name, t.name),
         case when t.schema_name = 'strata_held' then 'Drop what is held there, or wait until it is due.' else 'Rename or drop it.' end, 'week'
    from taken t join pg_class c on c.relname = t.name join pg_namespace n on n.oid = c.relnamespace and n.nspname = t.schema_name
  union all
  select format('row level security hides rows of %s from %I', p.oid::regclass, current_user), 'Run maintenance as a role with BYPASSRLS.', 'role'
    from parts p where row_security_active(p.oid)
  union all
  select format('%s does not belong to %I', c.oid::regclass, current_user), 'Run maintenance as the owner, or as a member of that role.', 'role'
    from pg_class c where c.oid in (select oid from involved) and not pg_has_role(c.relowner, 'usage')
  union all
  select format('%I may not create tables in schema %I', current_user, n.nspname), format('GRANT CREATE ON SCHEMA %I TO %I;', n.nspname, current_user), 'role'
    from pg_namespace n
   where (n.nspname = 'strata_held' or n.nspname in (select p.nspname from parts p where p.is_week))
     and not has_schema_privilege(n.oid, 'create')
  union all
  select format('the prepared transaction %s holds locks on %s', quote_literal(x.gid), min(l.relation::regclass::text)),
         format('Commit it or roll it back: ROLLBACK PREPARED %L;', x.gid), 'online'
    from pg_prepared_xacts x
    join pg_locks l on l.transactionid = x.transaction or l.virtualtransaction = '-1/' || x.transaction::text
   where x.database = current_database() and l.relation in (select oid from involved)
   group by x.gid;
end;

comment on function strata.consolidation_obstacles(text, regclass) is
  'Why a week of a set cannot be consolidated now, each with what to do; no row when nothing stands in the way. concerns: week, whoever does it and however; online, only the way that lets writers go on, which exchanges tables under them; role, only who asks.';
