create or replace function strata.adoption_obstacles(source regclass, time_column name, hash_column name)
returns table (obstacle text, remedy text)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
  with me as (
    select c.*, n.nspname, format('%I.%I', n.nspname, c.relname) as name, f.nspowner as keeper
      from pg_class c join pg_namespace n on n.oid = c.relnamespace, pg_namespace f
     where c.oid = source and f.nspname = 'strata'
  ),
  wanted as (
    select w.role, w.name as wanted_name, a.attname, a.attnotnull, a.attgenerated, a.attnum, format_type(a.atttypid, a.atttypmod) as type_name, a.atttypid
      from (values ('time', time_column), ('hash', hash_column)) w(role, name)
      left join pg_attribute a on a.attrelid = source and a.attname = w.name and a.attnum > 0 and not a.attisdropped
  ),
  relations as (  -- views and tables whose rewrite rules are tied to the table
    select distinct w.ev_class, v.relkind, v.relowner, format('%I.%I', n.nspname, v.relname) as name
      from pg_depend d
      join pg_rewrite w on w.oid = d.objid
      join pg_class v on v.oid = w.ev_class
      join pg_namespace n on n.oid = v.relnamespace
     where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = source and w.ev_class <> source
  )
  select format('%s is %s', me.name, case me.relkind when 'p' then 'partitioned already' when 'v' then 'a view' when 'm' then 'a materialized view'
                                       when 'f' then 'a foreign table' else 'no table' end) as obstacle,
         case me.relkind when 'p' then 'Put it under management as it is: SELECT strata.create_partition_set(…), if it is partitioned by range of a timestamptz column.'
           else 'Name an ordinary table.' end as remedy
    from me where me.relkind <> 'r'
  union all
  select format('%s belongs to schema %I', me.name, me.nspname), 'Name a table of your own.'
    from me where me.nspname in ('strata', 'strata_held', 'pg_catalog', 'information_schema')
  union all
  select format('%s is %s', me.name, case me.relpersistence when 't' then 'temporary' else 'unlogged' end),
         case me.relpersistence when 't' then 'Copy it to a table that stays.' else format('ALTER TABLE %s SET LOGGED;', me.name) end
    from me where me.relkind = 'r' and me.relpersistence <> 'p'
  union all
  select format('%s belongs to an extension', me.name), 'Leave it to the extension.'
    from me where exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = source and d.deptype = 'e')
  union all
  select format('%s inherits from, or is inherited by, %s', me.name, o.other::regclass),
         format('Separate them: ALTER TABLE %s NO INHERIT %s;', o.child::regclass, o.parent::regclass)
    from me, lateral (select i.inhrelid as child, i.inhparent as parent, case when i.inhrelid = source then i.inhparent else i.inhrelid end as other
                        from pg_inherits i where source in (i.inhrelid, i.inhparent)) o where me.relkind = 'r'
  union all
  select format('%s is a table of type %s', me.name, me.reloftype::regtype), format('ALTER TABLE %s NOT OF;', me.name)
    from me where me.reloftype <> 0
  union all
  select format('%s is not stored as a heap', me.name), format('ALTER TABLE %s SET ACCESS METHOD heap;', me.name)
    from me where me.relkind = 'r' and me.relam <> (select a.oid from pg_am a where a.amname = 'heap')
  union all
  select format('%s has no column %I', me.name, w.wanted_name),
         format('Its columns are %s.', (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
                                         where a.attrelid = source and a.attnum > 0 and not a.attisdropped))
    from me, wanted w where w.attname is null
  union all
  select format('the time column %I is %s, not timestamp with time zone', w.attname, w.type_name),
         case when w.type_name like 'timestamp%' or w.type_name = 'date'
           then format('Say which zone it means: ALTER TABLE %s ALTER COLUMN %I TYPE timestamptz USING %2$I%s AT TIME ZONE ''UTC''; it rewrites the table while everybody waits.',
                       me.name, w.attname, case when w.type_name = 'date' then '::timestamp' end)
           else 'Name a column of type timestamptz, or add one.' end
    from me, wanted w where w.role = 'time' and w.attname is not null and w.atttypid <> 'timestamptz'::regtype
  union all
  select format('column %I may be NULL, so a row may have no place in a week or a hash partition', w.attname),
         format('Fill or delete such rows, then, without stopping anybody: ALTER TABLE %1$s ADD CONSTRAINT %3$I CHECK (%2$I IS NOT NULL) NOT VALID; ALTER TABLE %1$s VALIDATE CONSTRAINT %3$I; ALTER TABLE %1$s ALTER COLUMN %2$I SET NOT NULL; ALTER TABLE %1$s DROP CONSTRAINT %3$I;',
                me.name, w.attname, left(w.attname, 50) || '_given')
    from me, wanted w where w.attname is not null and not w.attnotnull
  union all
  select format('column %I is generated', w.attname), 'Partitions are cut by stored columns only: name another.'
    from wanted w where w.attgenerated <> ''
  union all
  select format('the hash column %I is of type %s, which cannot be hashed', w.attname, w.type_name), 'Name a column of another type.'
    from wanted w
   where w.role = 'hash' and w.attname is not null and not exists (
     select from pg_opclass o join pg_am a on a.oid = o.opcmethod and a.amname = 'hash'
      where o.opcdefault and (o.opcintype = w.atttypid or exists (select from pg_cast x where x.castsource = w.atttypid and x.casttarget = o.opcintype and x.castmethod = 'b' and x.castcontext = 'i')
        or (o.opcintype = 'anyenum'::regtype and (select t.typtype from pg_type t where t.oid = w.atttypid) = 'e')))
  union all
  select 'the time column and the hash column are one and the same', 'Name the column of the account for --hash.' where time_column = hash_column
  union all
  select format('the foreign key %I ties %s to %s', k.conname, k.conrelid::regclass, k.confrelid::regclass),
         format('Drop it: ALTER TABLE %s DROP CONSTRAINT %I;%s', k.conrelid::regclass, k.conname,
           case when k.conrelid = source then ' Adding it to the partitioned table afterwards checks every row.'
             else ' The key of a partitioned table has the time and the hash column, which the other table would need too.' end)
    from pg_constraint k where k.contype = 'f' and source in (k.conrelid, k.confrelid) and k.conparentid = 0
  union all
  select format('the exclusion constraint %I cannot hold over partitions', k.conname), format('Drop it: ALTER TABLE %s DROP CONSTRAINT %I;', me.name, k.conname)
    from me, pg_constraint k join pg_index i on i.indexrelid = k.conindid and i.indisexclusion where k.conrelid = source
  union all
  select format('the constraint %I is NO INHERIT', k.conname), format('Drop it and add it without NO INHERIT: ALTER TABLE %s DROP CONSTRAINT %I;', me.name, k.conname)
    from me, pg_constraint k where k.conrelid = source and k.contype in ('c', 'n') and k.connoinherit
  union all
  select format('the constraint %I was never validated', k.conname), format('ALTER TABLE %s VALIDATE CONSTRAINT %I;', me.name, k.conname)
    from me, pg_constraint k where k.conrelid = source and k.contype in ('c', 'n') and not k.convalidated
  union all
  select format('the index %s is not valid', i.indexrelid::regclass), format('Rebuild or drop it: REINDEX INDEX CONCURRENTLY %s;', i.indexrelid::regclass)
    from pg_index i where i.indrelid = source and not i.indisvalid
  union all
  select format('the rule %I rewrites what is done to %s', w.rulename, me.name), format('Drop it: DROP RULE %I ON %s; triggers are kept.', w.rulename, me.name)
    from me, pg_rewrite w where w.ev_class = source
  union all
  select format('the row trigger %I uses transition tables', g.tgname), 'Make it a statement trigger, or drop it: partitions cannot have such.'
    from pg_trigger g where g.tgrelid = source and not g.tgisinternal and g.tgtype & 1 = 1 and (g.tgoldtable is not null or g.tgnewtable is not null)
  union all
  select format('%s is a materialized view of it', r.name), format('Drop it and create it again afterwards: DROP MATERIALIZED VIEW %s;', r.name)
    from relations r where r.relkind = 'm'
  union all
  select format('a rule of %s is tied to it', r.name), 'Drop the rule.' from relations r where r.relkind not in ('v', 'm')
  union all
  select format('the view %s does not belong to %I', r.name, current_user), 'Run this as the view''s owner, or as a member of that role: the view has to be made again.'
    from relations r where r.relkind = 'v' and not pg_has_role(r.relowner, 'usage')
  union all
  select format('%s counts on its primary key in GROUP BY', w.ev_class::regclass), 'Group by all columns: the key is going to have more.'
    from pg_constraint k
    join pg_depend d on d.refclassid = 'pg_constraint'::regclass and d.refobjid = k.oid and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite w on w.oid = d.objid
   where k.conrelid = source and k.contype = 'p' and not k.conkey @> (select array_agg(w2.attnum) from wanted w2)
   group by w.ev_class
  union all
  select format('%s uses the row type of %s', pg_describe_object(d.classid, d.objid, d.objsubid), me.name), 'Drop it and create it again afterwards, or name its columns there.'
    from me
    join pg_type t on t.oid = me.reltype
    join pg_depend d on d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray) and d.deptype = 'n'
  union all
  select format('the policy %I reads the table itself', p.polname), format('Let a function read it: DROP POLICY %I ON %s;', p.polname, me.name)
    from me, pg_policy p
   where p.polrelid = source and concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) ~* '\mselect\M'
     and position(me.relname in concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))) > 0
  union all
  select format('the policy %I of %s reads it', p.polname, p.polrelid::regclass), format('Drop it and create it again afterwards: DROP POLICY %I ON %s;', p.polname, p.polrelid::regclass)
    from pg_depend d join pg_policy p on p.oid = d.objid
   where d.classid = 'pg_policy'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = source and p.polrelid <> source
   group by p.polname, p.polrelid
  union all
  select format('%s is filled by a subscription', me.name), 'Adopt it at the publisher, or take it out of the subscription.'
    from me where exists (select from pg_subscription_rel s where s.srrelid = source)
  union all
  select format('the publication %I would publish partitions under names that subscribers do not know', p.pubname),
         format('ALTER PUBLICATION %I SET (publish_via_partition_root = true);', p.pubname)
    from pg_publication_rel r join pg_publication p on p.oid = r.prpubid and not p.pubviaroot where r.prrelid = source
  union all
  select format('the replica identity of %s is an index', me.name), format('ALTER TABLE %s REPLICA IDENTITY FULL; or DEFAULT', me.name) from me where me.relreplident = 'i'
  union all
  select format('row level security hides rows of %s from %I', me.name, current_user), 'Run this as a role with BYPASSRLS.' from me where row_security_active(source)
  union all
  select format('%s does not belong to %I', me.name, current_user), 'Run this as its owner, or as a member of that role.' from me where not pg_has_role(me.relowner, 'usage')
  union all
  select format('%I, who owns schema strata and creates the weeks, may not act as %I, who owns %s', pg_get_userbyid(me.keeper), pg_get_userbyid(me.relowner), me.name),
         format('GRANT %I TO %I;', pg_get_userbyid(me.relowner), pg_get_userbyid(me.keeper))
    from me where not pg_has_role(me.keeper, me.relowner, 'member')
  union all
  select format('%I may not create tables in schema %I', pg_get_userbyid(r.role), n.nspname), format('GRANT CREATE ON SCHEMA %I TO %I;', n.nspname, pg_get_userbyid(r.role))
    from me, pg_namespace n,
         lateral (select (select u.oid from pg_roles u where u.rolname = current_user) as role union select me.keeper union select me.relowner) r
   where (n.nspname = me.nspname or n.nspname = 'strata_held' and r.role = (select u.oid from pg_roles u where u.rolname = current_user))
     and not has_schema_privilege(r.role, n.oid, 'create')
  union all
  select format('the prepared transaction %s holds locks on it', quote_literal(x.gid)), format('Commit it or roll it back: ROLLBACK PREPARED %L;', x.gid)
    from pg_prepared_xacts x
    join pg_locks l on l.transactionid = x.transaction or l.virtualtransaction = '-1/' || x.transaction::text
   where x.database = current_database() and l.relation = source
   group by x.gid;
end;

comment on function strata.adoption_obstacles(regclass, name, name) is
  'Why a table cannot be made a managed set, each with what to do; no row when nothing stands in the way. Catalog reads only.';
