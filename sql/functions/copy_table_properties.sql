create or replace function strata.copy_table_properties(source regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  s         pg_class;
  t         pg_class;
  r         record;
  statement text;
begin
  select * into strict s from pg_class where oid = source;
  select * into strict t from pg_class where oid = target;

  -- Grants first: afterwards the target may belong to somebody else.
  for r in
    select format('grant %s on %s to %s%s', g.privilege_type, target, coalesce(quote_ident(role.rolname), 'public'),
                  case when g.is_grantable then ' with grant option' else '' end) as ddl
      from aclexplode(s.relacl) g left join pg_roles role on role.oid = g.grantee where g.grantee <> s.relowner
    union all
    select format('grant %s (%I) on %s to %s%s', g.privilege_type, a.attname, target, coalesce(quote_ident(role.rolname), 'public'),
                  case when g.is_grantable then ' with grant option' else '' end)
      from pg_attribute a, aclexplode(a.attacl) g left join pg_roles role on role.oid = g.grantee
     where a.attrelid = source and a.attnum > 0 and not a.attisdropped
  loop
    execute r.ddl;
  end loop;

  for r in
    select p.polname, p.polpermissive, p.polcmd, pg_get_expr(p.polqual, p.polrelid) as qual, pg_get_expr(p.polwithcheck, p.polrelid) as checked,
           (select string_agg(coalesce(quote_ident(role.rolname), 'public'), ', ')
              from unnest(p.polroles) u(oid) left join pg_roles role on role.oid = u.oid) as roles
      from pg_policy p
     where p.polrelid = source and not exists (select from pg_policy o where o.polrelid = target and o.polname = p.polname)
  loop
    execute format('create policy %I on %s as %s for %s to %s', r.polname, target, case when r.polpermissive then 'permissive' else 'restrictive' end,
        case r.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end, r.roles)
      || coalesce(' using (' || r.qual || ')', '') || coalesce(' with check (' || r.checked || ')', '');
  end loop;
  if s.relrowsecurity then
    execute format('alter table %s enable row level security', target);
  end if;
  if s.relforcerowsecurity then
    execute format('alter table %s force row level security', target);
  end if;

  if obj_description(source, 'pg_class') is not null then
    execute format('comment on table %s is %L', target, obj_description(source, 'pg_class'));
  end if;
  for r in
    select a.attname, col_description(source, a.attnum) as says,
           (to_jsonb(a) ->> 'attstattarget')::int as statistics, array_to_string(a.attoptions, ', ') as options
      from pg_attribute a where a.attrelid = source and a.attnum > 0 and not a.attisdropped
  loop
    if r.says is not null then
      execute format('comment on column %s.%I is %L', target, r.attname, r.says);
    end if;
    if r.statistics >= 0 then
      execute format('alter table %s alter column %I set statistics %s', target, r.attname, r.statistics);
    end if;
    if r.options <> '' then
      execute format('alter table %s alter column %I set (%s)', target, r.attname, r.options);
    end if;
  end loop;

  for r in
    select e.oid, pg_get_statisticsobjdef_columns(e.oid) as columns, row_number() over (order by e.oid) as place,
           (to_jsonb(e) ->> 'stxstattarget')::int as statistics,
           (select string_agg(case k when 'd' then 'ndistinct' when 'f' then 'dependencies' else 'mcv' end, ', ')
              from unnest(e.stxkind) k where k in ('d', 'f', 'm')) as kinds
      from pg_statistic_ext e
     where e.stxrelid = source and not exists (
       select from pg_statistic_ext o
        where o.stxrelid = target and pg_get_statisticsobjdef_columns(o.oid) = pg_get_statisticsobjdef_columns(e.oid) and o.stxkind = e.stxkind)
  loop
    statement := format('%I.%I', (select nspname from pg_namespace where oid = t.relnamespace), left(t.relname, 52) || '_stat_' || r.place);
    execute format('create statistics %s%s on %s from %s', statement, case when r.kinds is null then '' else ' (' || r.kinds || ')' end, r.columns, target);
    if r.statistics >= 0 then
      execute format('alter statistics %s set statistics %s', statement, r.statistics);
    end if;
  end loop;

  -- Triggers of the table's own: clones come with ATTACH, ours stay behind.
  for r in
    select g.tgname, g.tgenabled, pg_get_triggerdef(g.oid) as ddl,
           format(' ON %I.%I ', (select nspname from pg_namespace where oid = s.relnamespace), s.relname) as place
      from pg_trigger g join pg_proc f on f.oid = g.tgfoid
     where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and f.pronamespace <> 'strata'::regnamespace
       and not exists (select from pg_trigger o where o.tgrelid = target and o.tgname = g.tgname)
  loop
    if position(r.place in r.ddl) = 0 then
      raise exception 'cannot read the definition of trigger % on %', quote_ident(r.tgname), source;
    end if;
    execute overlay(r.ddl placing format(' ON %s ', target) from position(r.place in r.ddl) for length(r.place));
    if r.tgenabled <> 'O' then
      execute format('alter table %s %s trigger %I', target,
        case r.tgenabled when 'A' then 'enable always' when 'R' then 'enable replica' else 'disable' end, r.tgname);
    end if;
  end loop;

  if s.reloptions is not null then
    execute format('alter table %s set (%s)', target, array_to_string(s.reloptions, ', '));
  end if;
  select array_to_string(array_agg('toast.' || o), ', ') into statement from pg_class c, unnest(c.reloptions) o where c.oid = s.reltoastrelid;
  if statement is not null and t.reltoastrelid <> 0 then
    execute format('alter table %s set (%s)', target, statement);
  end if;
  if s.relreplident in ('f', 'n') then
    execute format('alter table %s replica identity %s', target, case s.relreplident when 'f' then 'full' else 'nothing' end);
  elsif s.relreplident = 'i' then
    execute format('alter table %s replica identity using index %I', target, strata.twin_index(source, target));
  end if;

  for r in
    select p.pubname, pg_get_expr(m.prqual, m.prrelid) as filter,
           (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
             where a.attrelid = m.prrelid and a.attnum = any (m.prattrs::int2[])) as columns
      from pg_publication_rel m join pg_publication p on p.oid = m.prpubid
     where m.prrelid = source and not exists (select from pg_publication_rel o where o.prpubid = m.prpubid and o.prrelid = target)
  loop
    execute format('alter publication %I add table %s', r.pubname, target)
      || coalesce(' (' || r.columns || ')', '') || coalesce(' where (' || r.filter || ')', '');
  end loop;
  if t.relowner <> s.relowner then
    execute format('alter table %s owner to %I', target, (select rolname from pg_roles where oid = s.relowner));
  end if;
end
$$;

comment on function strata.copy_table_properties(regclass, regclass) is
  'Gives a table what CREATE TABLE … LIKE leaves out: grants (of columns too), row security and policies, comments, statistics targets, extended statistics, the user''s own triggers, storage settings, replica identity, publications, owner. What the source has is added; what only the target has stays. Call it when the target''s indexes stand: a replica identity may name one. Triggers of pgstrata itself are not copied.';
