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
               and o.option_name <> 'pg_attver'  -- the server's own stamp, since the minor releases of November 2026
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
