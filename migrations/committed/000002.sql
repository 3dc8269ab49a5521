--! Previous: sha1:af5ea603f2290d32931279f0b3ec6772b1d7e672
--! Hash: sha1:d1fbc1940470c56229d973208bba29f6b2617212

alter table strata.partition_sets add column keep_runs interval not null default '90 days' check (keep_runs >= interval '1 day');
comment on column strata.partition_sets.keep_runs is 'How long maintenance_runs keeps a run; the last of each verb and outcome stays';

drop function strata.unmatched_indexes(regclass, regclass);
drop function strata.index_statements(regclass, text);
drop function strata.index_definition(regclass, regclass);
drop function strata.build_indexes_like(regclass, regclass);
drop function strata.copy_table_properties(regclass, regclass);
drop function strata.copy_leaf_properties(regclass, regclass);
drop function strata.twin_index(regclass, regclass);
drop function strata.consolidation_refusal(text, regclass);
drop function strata.consolidation_obstacles(regclass);

--! Included functions/packed_columns.sql
create or replace function strata.packed_columns(source regclass) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
  select array_agg(quote_ident(a.attname) order by a.attlen < 0,
                   case when a.attlen > 0 then -c.width end, a.attlen % c.width <> 0, a.attnum)
    from pg_attribute a
    cross join lateral (select case a.attalign when 'd' then 8 when 'i' then 4 when 's' then 2 else 1 end as width) c
   where a.attrelid = source and a.attnum > 0 and not a.attisdropped;
end;

comment on function strata.packed_columns(regclass) is
  'The columns of a table in the order in which a row takes the fewest bytes: those of fixed width from the widest alignment to the narrowest, so that no padding lies between them, then those of any length, which need none while they are short.';
--! EndIncluded functions/packed_columns.sql
--! Included functions/create_stage.sql
create or replace function strata.create_stage(source regclass, target text) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  packed  text[] := strata.packed_columns(source);
  columns text;
  kind    record;
  command text;
begin
  select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod))
           || case when a.attcompression = 'p' then ' compression pglz' when a.attcompression = 'l' then ' compression lz4' else '' end
           || case when a.attcollation <> t.typcollation then format(' collate %I.%I', cn.nspname, co.collname) else '' end
           || case when a.attnotnull then ' not null' else '' end
           || case a.attgenerated
                when '' then coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
                else format(' generated always as (%s) %s', pg_get_expr(d.adbin, d.adrelid), case a.attgenerated when 's' then 'stored' else 'virtual' end)
              end, ', ' order by array_position(packed, quote_ident(a.attname))) into columns
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    left join pg_collation co on co.oid = a.attcollation
    left join pg_namespace cn on cn.oid = co.collnamespace
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
   where a.attrelid = source and a.attnum > 0 and not a.attisdropped;
  select concat_ws(', ', columns, string_agg(format('constraint %I %s', k.conname, regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '')), ', '))
    into columns from pg_constraint k where k.conrelid = source and k.contype = 'c';

  select c.relpersistence, am.amname, t.spcname into kind
    from pg_partition_tree(source) p
    join pg_class c on c.oid = p.relid
    left join pg_am am on am.oid = c.relam and am.amname <> 'heap'
    left join pg_tablespace t on t.oid = c.reltablespace
   where p.isleaf order by c.relname limit 1;
  execute format('create %stable %s (%s)%s%s', case when kind.relpersistence = 'u' then 'unlogged ' else '' end, target, columns,
                 ' using ' || quote_ident(kind.amname), ' tablespace ' || quote_ident(kind.spcname));

  for command in
    select format('alter table %s alter column %I set storage %s', target, a.attname,
                  case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end)
      from pg_attribute a join pg_type t on t.oid = a.atttypid
     where a.attrelid = source and a.attnum > 0 and not a.attisdropped and a.attstorage <> t.typstorage
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.create_stage(regclass, text) is
  'Creates the table that is to take the place of a week''s partitions, stored as they are: columns with types, defaults, storage and checks of the week, but in the order of packed_columns(), which PostgreSQL allows a partition to have; no identity, indexes or what copy_properties() gives.';
--! EndIncluded functions/create_stage.sql
--! Included functions/index_statements.sql
create or replace function strata.index_statements(source regclass, target text, packed boolean default true)
returns table (statement text, definition text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select case
           when k.oid is not null then format('alter table %s add %s%s%s', target,
             left(k.definition, length(k.definition) - length(k.tail)), case when packed then ' with (fillfactor = 100)' else p.options end, k.tail)
           else format('create %sindex on %s using %s%s%s', case when i.indisunique then 'unique ' else '' end, target, p.core,
             case
               when packed and a.amname = 'btree' then ' with (fillfactor = 100)'
               when packed and a.amname = 'brin' then ' with (pages_per_range = 16, autosummarize = on)'
               else p.options end,
             p.condition)
         end,
         concat(k.contype, case when i.indisunique then ' unique ' else ' ' end, p.core, p.condition)
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am a on a.oid = c.relam
    join pg_class t on t.oid = i.indrelid
    join pg_namespace n on n.oid = t.relnamespace
    cross join lateral (
      select coalesce(' with (' || (
               select string_agg(quote_ident(o.option_name) || '='
                        || case when quote_ident(o.option_value) = o.option_value then o.option_value else quote_literal(o.option_value) end, ', ')
                 from pg_options_to_table(c.reloptions) o) || ')', '') as options,
             coalesce(' WHERE ' || pg_get_expr(i.indpred, i.indrelid), '') as condition,
             -- What pg_get_indexdef() says before the access method, to the letter.
             length(concat('CREATE ', case when i.indisunique then 'UNIQUE ' end, 'INDEX ', quote_ident(c.relname), ' ON ',
               case when c.relkind = 'I' then 'ONLY ' end, format('%I.%I', n.nspname, t.relname), ' USING ')) as head
    ) d
    cross join lateral (
      select d.options, d.condition,
             substr(left(pg_get_indexdef(c.oid), length(pg_get_indexdef(c.oid)) - length(d.options) - length(d.condition)), d.head + 1) as core
    ) p
    left join lateral (
      select con.oid, con.contype, pg_get_constraintdef(con.oid) as definition,
             concat(case when con.condeferrable then ' DEFERRABLE' end, case when con.condeferred then ' INITIALLY DEFERRED' end) as tail
        from pg_constraint con where con.conindid = c.oid and con.conrelid = t.oid and con.contype in ('p', 'u')
    ) k on true
   where i.indrelid = source and i.indisvalid
   order by i.indisprimary desc, c.relname;
end;

comment on function strata.index_statements(regclass, text, boolean) is
  'The statements that give target every index of source; packed: as a table that is no longer written much wants them, b-trees full and BRIN fine-grained. Keys come as constraints, because ATTACH adopts no plain index for one. definition is the same for two indexes that ATTACH takes for each other, but for the names of their tables.';
--! EndIncluded functions/index_statements.sql
--! Included functions/unmatched_indexes.sql
create or replace function strata.unmatched_indexes(source regclass, target regclass) returns setof text
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select s.statement
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join lateral strata.index_statements(source, format('%I.%I', n.nspname, c.relname)) s
   where c.oid = target and s.definition not in (select t.definition from strata.index_statements(target, '') t);
end;

comment on function strata.unmatched_indexes(regclass, regclass) is
  'The statements for those indexes of source that target has not; none when ATTACH of target to source would build nothing.';
--! EndIncluded functions/unmatched_indexes.sql
--! Included functions/build_indexes_like.sql
create or replace function strata.build_indexes_like(model regclass, target regclass, packed boolean default false) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  command text;
begin
  for command in
    select i.statement from strata.index_statements(model, target::text, packed) i
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.build_indexes_like(regclass, regclass, boolean) is
  'Builds on one table the primary key, unique constraints and indexes of another, so that an ATTACH in its place finds them; see index_statements().';
--! EndIncluded functions/build_indexes_like.sql
--! Included functions/copy_properties.sql
create or replace function strata.copy_properties(source regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  leaves  oid[] := coalesce((select array_agg(i.inhrelid) from pg_inherits i where i.inhparent = source), array[source::oid]);
  command text;
begin
  for command in
    with like_source as (  -- what holds for the week, or for each of its leaves
      select c.oid, c.relacl, c.relowner from pg_class c where c.oid = source
    ),
    acl as (
      select null::name as column_name, x.grantee, x.privilege_type, x.is_grantable, c.oid = source as of_week
        from pg_class c cross join lateral aclexplode(c.relacl) x
       where c.oid = source or c.oid = any (leaves)
      union all
      select a.attname, x.grantee, x.privilege_type, x.is_grantable, a.attrelid = source
        from pg_attribute a cross join lateral aclexplode(a.attacl) x
       where (a.attrelid = source or a.attrelid = any (leaves)) and a.attnum > 0 and not a.attisdropped
    ),
    granted as (
      select column_name, grantee, privilege_type, bool_or(is_grantable) as is_grantable
        from acl
       where grantee <> (select relowner from like_source)
       group by column_name, grantee, privilege_type
      having bool_or(of_week) or count(*) = cardinality(leaves)
    )
    -- Default privileges have given the new table what the old one may not have.
    select s.statement from (
    select 1 as place, format('revoke all on table %s from %s', target, strata.role_text(x.grantee))
      from pg_class c cross join lateral aclexplode(c.relacl) x
     where c.oid = target and x.grantee <> c.relowner
     group by x.grantee
    union all
    select 2, format('alter table %s owner to %I', target, pg_get_userbyid(s.relowner))
      from like_source s, pg_class t where t.oid = target and t.relowner <> s.relowner
    union all
    select 3, format('grant %s%s on table %s to %s%s', privilege_type, ' (' || quote_ident(column_name) || ')', target,
             strata.role_text(grantee), case when is_grantable then ' with grant option' else '' end)
      from granted
    union all
    select 4, format('alter table %s enable row level security', target)
     where exists (select from pg_class c where (c.oid = source or c.oid = any (leaves)) and c.relrowsecurity)
    union all
    select 4, format('alter table %s force row level security', target)
     where exists (select from pg_class c where (c.oid = source or c.oid = any (leaves)) and c.relforcerowsecurity)
    union all
    select 5, format('create policy %I on %s as %s for %s to %s%s%s', p.polname, target,
             case when p.polpermissive then 'permissive' else 'restrictive' end,
             case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
             (select string_agg(strata.role_text(r), ', ') from unnest(p.polroles) r),
             ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
      from (select distinct on (polname) * from pg_policy
             where polrelid = source or polrelid = any (leaves) order by polname, polrelid <> source) p
    union all
    select 6, format('comment on table %s is %L', target, obj_description(source, 'pg_class'))
     where obj_description(source, 'pg_class') is not null
    union all
    -- What leaves agree on; room for updates is what a settled week does not need.
    select 7, format('alter table %s set (%s)', target, string_agg(format('%I = %L', option_name, option_value), ', '))
      from (select o.option_name, o.option_value
              from pg_class c cross join lateral pg_options_to_table(c.reloptions) o
             where c.oid = any (leaves) and o.option_name <> 'fillfactor'
               and (select t.relkind from pg_class t where t.oid = target) = 'r'
             group by 1, 2 having count(*) = cardinality(leaves)) agreed
    having count(*) > 0
    union all
    select 7, format('alter table %s set (%s)', target, string_agg(format('toast.%I = %L', option_name, option_value), ', '))
      from (select o.option_name, o.option_value
              from pg_class c join pg_class x on x.oid = c.reltoastrelid cross join lateral pg_options_to_table(x.reloptions) o
             where c.oid = any (leaves) and (select t.reltoastrelid from pg_class t where t.oid = target) <> 0
             group by 1, 2 having count(*) = cardinality(leaves)) agreed
    having count(*) > 0
    union all
    select 8, format('alter table %s alter column %I set statistics %s', target, a.attname, max(l.attstattarget))
      from pg_attribute a
      join pg_attribute l on l.attname = a.attname and (l.attrelid = source or l.attrelid = any (leaves)) and l.attstattarget >= 0
     where a.attrelid = target and a.attnum > 0 and not a.attisdropped
     group by a.attname
    union all
    select 9, format('alter table %s alter column %I set (%s)', target, attname, string_agg(format('%I = %L', option_name, option_value), ', '))
      from (select distinct on (l.attname, o.option_name) l.attname, o.option_name, o.option_value
              from pg_attribute l cross join lateral pg_options_to_table(l.attoptions) o
             where (l.attrelid = source or l.attrelid = any (leaves)) and not l.attisdropped
             order by l.attname, o.option_name, l.attrelid <> source) options
     group by attname
    union all
    select 10, format('comment on column %s.%I is %L', target, a.attname, col_description(source, a.attnum))
      from pg_attribute a
     where a.attrelid = source and a.attnum > 0 and not a.attisdropped and col_description(source, a.attnum) is not null
    union all
    select 10 + part, case part
             when 1 then format('create statistics %s%s on %s from %s', name, ' (' || kinds || ')', columns, target)
             else format('alter statistics %s set statistics %s', name, stattarget) end
      from (select pg_get_statisticsobjdef_columns(e.oid) as columns, (to_jsonb(e) ->> 'stxstattarget')::int as stattarget,
                   format('%I.%I', n.nspname, left(c.relname, 52) || '_stat_' || row_number() over (order by e.oid)) as name,
                   (select string_agg(case k when 'd' then 'ndistinct' when 'f' then 'dependencies' else 'mcv' end, ', ')
                      from unnest(e.stxkind) k where k in ('d', 'f', 'm')) as kinds
              from pg_statistic_ext e cross join pg_class c join pg_namespace n on n.oid = c.relnamespace
             where e.stxrelid = source and c.oid = target
               and not exists (select from pg_statistic_ext o where o.stxrelid = target and o.stxkind = e.stxkind
                                  and pg_get_statisticsobjdef_columns(o.oid) = pg_get_statisticsobjdef_columns(e.oid))) extended
      cross join generate_series(1, 2) part
     where part = 1 or stattarget >= 0
    ) s(place, statement) order by s.place
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.copy_properties(regclass, regclass) is
  'Gives target what columns and checks alone do not bring: owner, grants of table and columns, row level security and its policies, comments, storage parameters (not fillfactor: a settled week needs no room for updates), statistics targets and options of columns, extended statistics. Where source is partitioned, what its partitions agree on counts too. What must act on one of the two only is for hand_over().';
--! EndIncluded functions/copy_properties.sql
--! Included functions/hand_over.sql
create or replace function strata.hand_over(source regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  leaves  oid[] := coalesce((select array_agg(i.inhrelid) from pg_inherits i where i.inhparent = source), array[source::oid]);
  givers  oid[] := leaves || source::oid;
  whole   text  := (select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = source);
  identity record;
  command text;
begin
  select c.oid::regclass as name, c.relreplident, (
           select tc.relname
             from pg_index si
             join pg_index ti on ti.indrelid = target and ti.indisunique and ti.indimmediate
              and (select array_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = ti.indexrelid)
                = (select array_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = si.indexrelid)
             join pg_class tc on tc.oid = ti.indexrelid
            where si.indrelid = c.oid and si.indisreplident
            limit 1) as twin into identity
    from pg_class c where c.oid = any (givers)
   order by c.relreplident = 'd', c.oid <> source limit 1;
  if identity.relreplident = 'i' and identity.twin is null then
    raise exception '% has no unique index like the one that is the replica identity of %', target, identity.name
      using errcode = 'undefined_object', hint = 'Create that index on the parent table, or choose another replica identity.';
  end if;
  for command in
    select s.statement from (
    select 1 as place, overlay(t.definition placing ' ON ' || target || ' '
             from position(' ON ' || whole || ' ' in t.definition) for length(' ON ' || whole || ' '))
      from (select g.oid, pg_get_triggerdef(g.oid) as definition from pg_trigger g
             where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted') t
    union all
    select 2, format('alter table %s %s trigger %I', target,
             case g.tgenabled when 'A' then 'enable always' when 'R' then 'enable replica' else 'disable' end, g.tgname)
      from pg_trigger g
     where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted' and g.tgenabled <> 'O'
    union all
    select 3, format('drop trigger %I on %s', g.tgname, source)
      from pg_trigger g
     where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted'
    union all
    select 4, format('alter publication %I add table %s%s%s', p.pubname, receiver, m.columns, m.condition)
      from pg_publication p
      join (select distinct on (r.prpubid) r.prpubid,
                   ' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
                             where a.attrelid = r.prrelid and a.attnum = any (r.prattrs::int2[])) || ')' as columns,
                   ' where (' || pg_get_expr(r.prqual, r.prrelid) || ')' as condition
              from pg_publication_rel r where r.prrelid = any (givers) order by r.prpubid, r.prrelid <> source) m on m.prpubid = p.oid
      -- A partitioned table takes a list of columns or a condition only where it is published as one.
      cross join lateral (
        select i.inhrelid::regclass as receiver from pg_inherits i where i.inhparent = target and not p.pubviaroot
        union all
        select target where p.pubviaroot or not exists (select from pg_inherits i where i.inhparent = target)
      ) r
    union all
    select 5, format('alter publication %I drop table %s', p.pubname, string_agg(r.prrelid::regclass::text, ', '))
      from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
     where r.prrelid = any (givers)
     group by p.pubname
    union all
    select 6, format('alter table %s replica identity %s', target,
             case identity.relreplident
               when 'f' then 'full'
               when 'n' then 'nothing'
               when 'i' then 'using index ' || quote_ident(identity.twin)
               else 'default'
             end)
    ) s(place, statement) order by s.place
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.hand_over(regclass, regclass) is
  'Moves what must act on exactly one of two tables from source to target: triggers of its own with their state, membership of publications, replica identity. Call it in the transaction that swaps them, after the last row was copied: nothing may fire for the copies.';
--! EndIncluded functions/hand_over.sql
--! Included functions/consolidation_obstacles.sql
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
      select format('it is a %s partition', w.kind), 'Maintenance leaves it alone.' where w.kind not in ('consolidated', 'odd', 'hash', 'list')
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
--! EndIncluded functions/consolidation_obstacles.sql
--! Included functions/week_digest.sql
create or replace function strata.week_digest(rows_of regclass, out row_count bigint, out hash numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set row_security = off
as $$
begin
  execute format('select count(*), coalesce(sum(hashtextextended(row(%s)::text, 0)), 0) from %s t',
    (select string_agg('t.' || quote_ident(a.attname), ', ' order by a.attname) from pg_attribute a
      where a.attrelid = rows_of and a.attnum > 0 and not a.attisdropped), rows_of) into row_count, hash;
end
$$;

comment on function strata.week_digest(regclass) is
  'Row count of a table and the sum of a 64-bit hash of every row''s text: equal for two tables that hold the same rows, in whatever order rows and columns lie.';
--! EndIncluded functions/week_digest.sql
--! Included functions/sample_statement.sql
create or replace function strata.sample_statement(week regclass, pages_max int default 96) returns text
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  run_pages constant int := 4;
  columns   text;
  leaf      record;
  runs      int;
  pieces    text[] := '{}';
begin
  select string_agg('t.' || c, ', ' order by place) into columns from unnest(strata.packed_columns(week)) with ordinality p(c, place);
  for leaf in
    select t.relid, (pg_relation_size(t.relid) / current_setting('block_size')::int)::bigint as pages from pg_partition_tree(week) t where t.isleaf
  loop
    if leaf.pages <= pages_max then
      pieces := pieces || format('select 1::float8 as strata_weight, pg_column_size(row(%s)) as strata_bytes, %s from only %s t', columns, columns, leaf.relid);
      continue;
    end if;
    runs := pages_max / run_pages;
    pieces := pieces || array(
      select format('select %s::float8 as strata_weight, pg_column_size(row(%s)) as strata_bytes, %s from only %s t where t.ctid >= ''(%s,0)'' and t.ctid < ''(%s,0)''',
                    leaf.pages::float8 / (runs * run_pages), columns, columns, leaf.relid, first, first + run_pages)
        from (select leaf.pages * run / runs as first from generate_series(0, runs - 1) run) r);
  end loop;
  return array_to_string(pieces, E'\nunion all ');
end
$$;

comment on function strata.sample_statement(regclass, int) is
  'A query for a sample of a week''s rows: every live row of up to pages_max pages of each partition, taken in runs all over it, with what one row stands for (strata_weight) and its bytes in a heap whose columns are packed (strata_bytes). Counts are then true even where dead rows and empty pages lie between.';
--! EndIncluded functions/sample_statement.sql
--! Included functions/estimate_index.sql
create or replace function strata.estimate_index(index regclass, week regclass, sample text) returns float8
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  page       constant int := current_setting('block_size')::int;
  i          record;
  keys       text;
  predicate  text;
  measured   record;
  copies     float8;
  tuple      float8;
  leaf_pages float8;
begin
  select x.*, a.amname, c.reloptions into strict i
    from pg_index x join pg_class c on c.oid = x.indexrelid join pg_am a on a.oid = c.relam where x.indexrelid = index;
  if i.amname = 'brin' then
    return 6 * page;  -- its three kinds of pages, of each one for a week, and a free space map
  elsif i.amname <> 'btree' then
    -- Its size does not follow from its keys; what it has now is the best guess.
    return coalesce((select sum(pg_relation_size(t.relid)) from pg_partition_tree(index) t join pg_index x on x.indexrelid = t.relid
                      where x.indrelid in (select w.relid from pg_partition_tree(week) w)), 0);
  end if;

  select string_agg(pg_get_indexdef(index, k::int, true), ', ' order by k) into keys from generate_series(1, i.indnatts) k;
  predicate := coalesce(pg_get_expr(i.indpred, i.indrelid), 'true');
  execute format($measure$
    with sampled as (
      select s.strata_weight, 8 * ceil((8 + case when num_nulls(%1$s) > 0 then 8 else 0 end + pg_column_size(row(%1$s)) - 24) / 8.0) as bytes,
             hashtextextended(row(%1$s)::text, 0) as key
        from (%2$s) s where %3$s
    ), grouped as (
      select count(*) as n from sampled group by key
    )
    select (select sum(strata_weight) from sampled) as rows, (select sum(strata_weight * bytes) / sum(strata_weight) from sampled) as bytes,
           sum(g.n)::float8 as n, count(*)::float8 as keys, count(*) filter (where g.n = 1)::float8 as once
      from grouped g
  $measure$, keys, sample, predicate) into measured;
  if coalesce(measured.rows, 0) = 0 then
    return page;
  end if;

  -- How many rows share a key: Haas and Stokes' estimator of distinct values, as ANALYZE has it. A unique index has no duplicates.
  copies := case when i.indisunique then 1 else
    greatest(1, measured.rows * (measured.n - measured.once + measured.once * measured.n / measured.rows) / (measured.n * measured.keys)) end;
  tuple := measured.bytes + 4;
  if copies >= 2 and i.indnatts = i.indnkeyatts and coalesce(not 'deduplicate_items=off' = any (i.reloptions), true) then
    -- Duplicates lie in lists of 6 bytes a row, one list at most a tenth of a page.
    copies := least(copies, (page / 10 - measured.bytes) / 6);
    tuple := (tuple + 6 * copies) / copies;
  end if;
  leaf_pages := ceil(measured.rows / floor((page - 40) / tuple));
  return page * (1 + leaf_pages + case when leaf_pages > 1 then ceil(leaf_pages * (measured.bytes + 12) / (0.7 * page)) else 0 end);
end
$$;

comment on function strata.estimate_index(regclass, regclass, text) is
  'Bytes of an index of the parent when it is built anew over the rows of a week, of which sample is a sample: entries of their true width, pages full, duplicates folded together as a b-tree does.';
--! EndIncluded functions/estimate_index.sql
--! Included functions/build_consolidated.sql
create or replace function strata.build_consolidated(set_name text, week regclass) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set row_security = off
set work_mem = '64MB'
as $$
declare
  s          strata.partition_sets := strata.require_set(set_name);
  w          record;
  stage      text;
  columns    text;
  heap_key   text;
  estimate   record;
  source     record;
  copied     record;
  definition text;
  id         bigint;
begin
  select i.*, n.nspname into strict w
    from strata.week_info(set_name) i join pg_class c on c.oid = i.partition join pg_namespace n on n.oid = c.relnamespace
   where i.partition = build_consolidated.week;
  perform strata.lock_week(week);
  select * into estimate from strata.estimate_week_saving(set_name, week);

  stage := format('%I.%I', w.nspname, w.partition_name || '_consolidated');
  perform strata.create_stage(week, stage);
  if not exists (select from pg_constraint c where c.conrelid = stage::regclass and c.conname = w.partition_name || '_bounds') then
    -- With a CHECK that equals its bounds the table is attached without a scan.
    execute format('alter table %1$s add constraint week_bounds check (%2$I >= %3$L and %2$I < %4$L)', stage, s.time_column, w.lower_bound, w.upper_bound);
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
    from pg_attribute a where a.attrelid = week and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
  select string_agg(pg_get_indexdef(i.indexrelid, k::int, true), ', ' order by k) into heap_key
    from pg_index i, generate_series(1, i.indnkeyatts) k where i.indrelid = week and i.indisprimary;
  heap_key := coalesce(heap_key, format('%I, %I', s.hash_column, s.time_column));
  if s.heap_order = 'time' then
    -- In slices: strict time order would scatter an account over as many pages as it has rows.
    heap_key := format('date_bin(interval ''10 hours'', %I, %L::timestamptz), %s', s.time_column, w.lower_bound, heap_key);
  end if;
  execute format('insert into %1$s (%2$s) select %2$s from %3$s order by %4$s', stage, columns, week, heap_key);

  perform strata.build_indexes_like(s.parent, stage::regclass, packed => true);
  for definition in
    select pg_get_constraintdef(c.oid) from pg_constraint c where c.conrelid = s.parent and c.contype = 'f' and c.conparentid = 0
  loop
    execute format('alter table %s add %s', stage, definition);
  end loop;

  select d.* into source from strata.week_digest(week) d;
  select d.* into copied from strata.week_digest(stage::regclass) d;
  if source is distinct from copied then
    raise exception '% has % rows with hash %, its copy % with hash %', week, source.row_count, source.hash, copied.row_count, copied.hash
      using errcode = 'data_corrupted', hint = 'Nothing was changed. Look for a trigger or a rule that alters rows on their way.';
  end if;
  perform strata.copy_properties(week, stage::regclass);
  execute format('analyze %s', stage);

  insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage, stage_name, heap_order,
                                     row_count, bytes_before, bytes_after, predicted_saving, actual_saving, proof)
  select s.set_name, w.lower_bound, w.upper_bound, 'transaction', 'verified', week, w.partition_name, stage::regclass, w.partition_name || '_consolidated',
         s.heap_order, copied.row_count, w.total_bytes, size.bytes, estimate.predicted_saving, round(1 - size.bytes::numeric / nullif(w.total_bytes, 0), 4),
         jsonb_build_object('rows', copied.row_count, 'hash', copied.hash::text, 'rows_before', source.row_count, 'hash_before', source.hash::text)
    from (select pg_total_relation_size(stage::regclass) as bytes) size
  returning consolidation_id into id;
  return id;
end
$$;

comment on function strata.build_consolidated(text, regclass) is
  'First half of consolidating a week in one transaction: copies it, in the set''s heap_order, into <week>_consolidated with every index and constraint of the parent, proves the copy by count and hash, and journals it. From the start until the end of the transaction the writers of this week wait; nobody else does. Returns the consolidation_id for swap_consolidated().';
--! EndIncluded functions/build_consolidated.sql
--! Included functions/swap_within_week.sql
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
--! EndIncluded functions/swap_within_week.sql
--! Included functions/swap_consolidated.sql
create or replace function strata.swap_consolidated(consolidation_id bigint) returns text
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set lock_timeout = '100ms'
as $$
declare
  c    strata.consolidations;
  s    strata.partition_sets;
  how  text := 'root';
begin
  perform strata.refuse_old_snapshots();
  select * into strict c from strata.consolidations j where j.consolidation_id = swap_consolidated.consolidation_id;
  s := strata.require_set(c.set_name);
  begin
    -- Somebody who waits to write to this week holds the root, so to wait for the root would be a deadlock.
    if strata.is_awaited(c.week) then
      raise lock_not_available;
    end if;
    perform pg_advisory_xact_lock(strata.advisory_key('gate ' || s.set_name));
    execute format('lock table only %s in access exclusive mode', s.parent);
    perform strata.hand_over(c.week, c.stage);
    execute format('alter table %s detach partition %s', s.parent, c.week::regclass);
    perform strata.hold_tables(c.week);
    execute format('alter table %s attach partition %s for values from (%L) to (%L)', s.parent, c.stage::regclass, c.lower_bound, c.upper_bound);
  exception when lock_not_available or deadlock_detected then
    how := 'week';
    perform strata.swap_within_week(c);
  end;

  insert into strata.held_partitions (set_name, lower_bound, upper_bound, reason, partition, partition_name, bytes, row_count, consolidation_id, drop_after)
  select c.set_name, c.lower_bound, c.upper_bound, 'consolidated', format('strata_held.%I', c.week_name)::regclass, c.week_name, c.bytes_before, c.row_count,
         c.consolidation_id, clock_timestamp() + s.hold;
  update strata.consolidations j
     set step = 'swapped', swapped_at = clock_timestamp(), updated_at = clock_timestamp(), week = format('strata_held.%I', c.week_name)::regclass,
         detail = j.detail || jsonb_build_object('swapped_in', how)
   where j.consolidation_id = c.consolidation_id;
  return how;
end
$$;

comment on function strata.swap_consolidated(bigint) is
  'Second half of consolidating a week in one transaction: puts the copy in the place of the week, which goes to schema strata_held with its partitions. Takes ACCESS EXCLUSIVE on the parent and keeps it until the end of the transaction, so commit at once (returns ''root''). Where the parent is not to be had in 100 ms, because somebody reads or writes a long time or waits to write to this week, the copy becomes the week''s only partition instead, which locks nothing but the week (returns ''week''); flatten_weeks() makes up for the rest later.';
--! EndIncluded functions/swap_consolidated.sql
--! Included functions/prune_runs.sql
create or replace function strata.prune_runs(set_name text) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  pruned bigint;
begin
  delete from strata.maintenance_runs r
   using strata.partition_sets s
   where s.set_name = prune_runs.set_name and r.set_name = s.set_name
     and r.started_at < clock_timestamp() - s.keep_runs and r.outcome <> 'running'
     and exists (select from strata.maintenance_runs later
                  where later.set_name = r.set_name and later.verb = r.verb and later.outcome = r.outcome
                    and later.detail ? 'narrowed' = r.detail ? 'narrowed'
                    and (later.started_at, later.run_id) > (r.started_at, r.run_id));
  get diagnostics pruned = row_count;
  return pruned;
end
$$;

comment on function strata.prune_runs(text) is
  'Deletes the maintenance runs of a set that are older than its keep_runs, but never the last of a verb and outcome: what is due and what has failed is read from those. Every run begins with it.';
--! EndIncluded functions/prune_runs.sql
--! Included functions/consolidate_weeks.sql
create or replace function strata.consolidate_weeks(set_name text, weeks regclass[])
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  s      strata.partition_sets := strata.require_set(consolidate_weeks.set_name);
  run    bigint;
  week   regclass;
  ids    bigint[] := '{}';
  id     bigint;
  failed int := 0;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'consolidation needs isolation level read committed, not %', current_setting('transaction_isolation')
      using errcode = 'invalid_transaction_state', hint = 'An older snapshot would miss what writers commit before they are made to wait.';
  end if;
  perform strata.lock_maintenance(s.set_name);
  perform strata.prune_runs(s.set_name);
  insert into strata.maintenance_runs (set_name, verb, asked_by, plan)
  values (s.set_name, 'consolidate', 'sql', jsonb_build_object('weeks', to_jsonb(weeks::text[]))) returning run_id into run;

  -- All that is slow comes first: the parent, once locked for a swap, stays locked until the transaction ends.
  foreach week in array weeks loop
    declare
      refusal text := (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(s.set_name, week) o where o.concerns = 'week' limit 1);
    begin
      if refusal is not null then
        raise exception '%', refusal using errcode = 'object_not_in_prerequisite_state';
      end if;
      ids := ids || strata.build_consolidated(s.set_name, week);
    exception when others then
      failed := failed + 1;
      ids := ids || strata.note_failure(s.set_name, week, sqlerrm || strata.lock_advice(sqlstate));
    end;
  end loop;
  foreach id in array ids loop
    declare
      c strata.consolidations;
    begin
      select * into strict c from strata.consolidations j where j.consolidation_id = id;
      continue when c.step = 'failed';
      perform strata.swap_consolidated(id);
    exception when others then
      failed := failed + 1;
      execute format('drop table %s', c.stage::regclass);
      update strata.consolidations j
         set step = 'failed', error = sqlerrm || strata.lock_advice(sqlstate), finished_at = clock_timestamp(), updated_at = clock_timestamp() where j.consolidation_id = id;
    end;
  end loop;

  update strata.consolidations j set run_id = run where j.consolidation_id = any (ids);
  update strata.maintenance_runs m
     set finished_at = clock_timestamp(), outcome = case when failed > 0 then 'failed' when cardinality(ids) = 0 then 'nothing' else 'done' end,
         error = case when failed > 0 then failed || ' of ' || cardinality(ids) || ' weeks failed' end
   where m.run_id = run;
  return query
    select strata.week_key(j.lower_bound), case when j.step = 'failed' then 'FAILED' else 'CONSOLIDATED' end, j.row_count, j.bytes_before,
           case when j.step <> 'failed' then j.bytes_after end, case when j.step <> 'failed' then j.actual_saving end,
           coalesce(j.error, format('%s rows in %s; the old week is held as strata_held.%I', j.row_count, j.stage::regclass, j.week_name))
      from unnest(ids) with ordinality u(id, place) join strata.consolidations j on j.consolidation_id = u.id order by u.place;
end
$$;

comment on function strata.consolidate_weeks(text, regclass[]) is
  'Consolidates these weeks of a set in one transaction; one that fails is reported as FAILED with its error and left as it was, the others go on. Writers of a week wait from its turn until the transaction ends, everybody for the moment of the swaps at its end: commit at once, or call strata.consolidate_old_weeks_singly(), which commits week by week.';
--! EndIncluded functions/consolidate_weeks.sql
--! Included functions/old_weeks.sql
create or replace function strata.old_weeks(set_name text, months int)
returns table (
  partition regclass, week_key text, lower_bound timestamptz, upper_bound timestamptz, kind text, leaves int, row_estimate bigint,
  total_bytes bigint, refusal text
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
  perform strata.require_set(old_weeks.set_name);
  perform strata.require_months(old_weeks.months);
  return query
    select w.partition, coalesce(strata.week_key(w.lower_bound), w.partition_name), w.lower_bound, w.upper_bound, w.kind, w.leaves, w.row_estimate,
           w.total_bytes, (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(old_weeks.set_name, w.partition) o where o.concerns = 'week' limit 1)
      from strata.week_info(old_weeks.set_name) w
     where w.kind <> 'consolidated'
       and (w.upper_bound is null or w.upper_bound <= least(now(), now() - make_interval(months => old_weeks.months)))
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.old_weeks(text, int) is
  'The partitions of a set that ended at least that many months ago and are not consolidated, each with why it cannot be, or null. A partition without bounds is among them, with its advice.';
--! EndIncluded functions/old_weeks.sql
--! Included functions/consolidation_status.sql
create or replace function strata.consolidation_status(set_name text)
returns table (
  week_key text, week_start timestamptz, week_end timestamptz, partition_type text, partition_count int, row_count bigint,
  total_size text, total_bytes bigint, due boolean, advice text
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
  s strata.partition_sets := strata.require_set(consolidation_status.set_name);
begin
  return query
    select coalesce(strata.week_key(w.lower_bound), w.partition_name), w.lower_bound, w.upper_bound, strata.partition_type(w.kind), greatest(w.leaves, 1),
           w.row_estimate, pg_size_pretty(w.total_bytes), w.total_bytes,
           w.kind in ('hash', 'list') and coalesce(w.upper_bound <= now() - s.consolidate_after, false),
           case when w.kind <> 'consolidated' then (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(s.set_name, w.partition) o where o.concerns = 'week' limit 1) end
      from strata.week_info(s.set_name) w
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.consolidation_status(text) is
  'Every week of a set: whether it is partitioned or consolidated, its partitions and size, whether it is due by the set''s consolidate_after, and what keeps it from being consolidated. row_count is as of the last ANALYZE.';
--! EndIncluded functions/consolidation_status.sql
--! Included views/balance_history.sql
create or replace view strata.balance_history as
select account_address, asset_id, "timestamp", balance, change_count, false as opening
  from strata.account_balances
 where "timestamp" >= (select s.opened_before from strata.balance_status s)
union all
select account_address, asset_id, "timestamp", balance, 0, true from strata.account_balances_opening;

comment on view strata.balance_history is
  'Every stored balance of a key in time, begun with the opening row that retention carried forward (opening = true). Weeks that a retention is about to detach are left out from the moment their opening rows are there.';
--! EndIncluded views/balance_history.sql
--! Included functions/grant_roles.sql
create or replace function strata.grant_roles() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  r name;
begin
  foreach r in array array['strata_reader', 'strata_loader', 'strata_maintainer'] loop
    if not exists (select from pg_roles where rolname = r) then
      begin
        execute format('create role %I nologin', r);
      exception
        when insufficient_privilege then
          raise notice 'role % is missing and % may not create it', r, current_user;
        when duplicate_object or unique_violation then
          null;  -- another database of the cluster was migrated at the same moment
      end;
    end if;
  end loop;
  if (select count(*) from pg_roles where rolname in ('strata_reader', 'strata_loader', 'strata_maintainer')) < 3 then
    return;
  end if;
  revoke all on all routines in schema strata from public;
  grant usage on schema strata to strata_reader, strata_loader, strata_maintainer;
  grant select on all tables in schema strata to strata_reader, strata_loader, strata_maintainer;
  grant execute on all routines in schema strata to strata_loader, strata_maintainer;
  grant execute on function strata.account(text), strata.account_text(bytea), strata.asset_id(text, text, text, numeric),
    strata.week_start(timestamptz), strata.week_name(text, timestamptz), strata.partition_bounds(regclass), strata.set_partitions(text),
    strata.period_start(text, timestamptz), strata.balance_at(bytea, bigint, timestamptz), strata.sample_predicate(text, int),
    strata.recompute_floor(), strata.recompute_balances(bytea, bigint, timestamptz, int), strata.verify_rows(int),
    strata.verify_state(int), strata.verify_sums(), strata.verify_snapshots(int), strata.verify_ledger(),
    strata.week_key(timestamptz), strata.week_info(text), strata.partition_type(text), strata.require_set(text),
    strata.partition_info(text), strata.partition_distribution(text), strata.find_missing_weeks(text),
    strata.explain_query(text, timestamptz, timestamptz, text), strata.consolidation_obstacles(text, regclass),
    strata.consolidation_status(text), strata.consolidation_report(text),
    strata.get_account_balance_partition_info(), strata.check_partition_distribution(), strata.find_missing_partitions(),
    strata.explain_account_balance_query(timestamptz, timestamptz, text), strata.get_partition_consolidation_status(),
    strata.weekly_consolidation_report()
    to strata_reader;
  grant insert, update, delete on strata.streams, strata.sources, strata.stream_batches, strata.stream_health, strata.quarantine, strata.assets,
    strata.balance_changes, strata.account_balances, strata.account_balances_current, strata.snapshot_rows,
    strata.fold_progress, strata.balance_status, strata.account_balances_opening, strata.held_openings, strata.held_deltas
    to strata_loader;
  grant usage on all sequences in schema strata to strata_loader, strata_maintainer;
  grant usage, create on schema strata, strata_held to strata_maintainer;
  grant insert, update, delete on strata.partition_sets, strata.account_balances_opening, strata.maintenance_runs,
    strata.consolidations, strata.held_partitions, strata.retentions, strata.held_openings, strata.held_deltas, strata.labels,
    strata.label_views, strata.adoptions
    to strata_maintainer;
end
$$;

comment on function strata.grant_roles() is
  'Creates the group roles strata_reader, strata_loader and strata_maintainer where the caller may, and grants each the least it needs. Safe to run again.';
--! EndIncluded functions/grant_roles.sql
select strata.grant_roles();
