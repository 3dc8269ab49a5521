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
