create or replace function strata.adoption_dependents(source regclass)
returns table (kind text, name text, locking text, statement text)
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
  with readers as (
    select distinct d.classid, d.objid from pg_depend d
     where d.refclassid = 'pg_class'::regclass and d.refobjid = source and d.classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass)
  )
  select s.kind, s.name, s.locking, s.statement from (
    select 1 as place, 'view' as kind, format('%I.%I', n.nspname, v.relname) as name,
           -- Locks the view alone; LOCK TABLE would lock every table it reads.
           format('alter view %I.%I owner to %I', n.nspname, v.relname, pg_get_userbyid(v.relowner)) as locking,
           format('create or replace view %I.%I%s as %s', n.nspname, v.relname,
             ' with (' || (select string_agg(format('%I = %L', o.option_name, o.option_value), ', ') from pg_options_to_table(v.reloptions) o) || ')',
             pg_get_viewdef(v.oid)) as statement
      from readers r
      join pg_rewrite w on r.classid = 'pg_rewrite'::regclass and w.oid = r.objid and w.ev_type = '1'
      join pg_class v on v.oid = w.ev_class and v.relkind = 'v'
      join pg_namespace n on n.oid = v.relnamespace
    union all
    select 2, 'rule', format('%I on %I.%I', w.rulename, n.nspname, v.relname),
           format('alter view %I.%I owner to %I', n.nspname, v.relname, pg_get_userbyid(v.relowner)),
           regexp_replace(pg_get_ruledef(w.oid), '^CREATE RULE', 'CREATE OR REPLACE RULE')
      from readers r
      join pg_rewrite w on r.classid = 'pg_rewrite'::regclass and w.oid = r.objid and w.ev_type <> '1'
      join pg_class v on v.oid = w.ev_class and v.relkind = 'v'
      join pg_namespace n on n.oid = v.relnamespace
    union all
    select 3, 'function', p.oid::regprocedure::text, null, pg_get_functiondef(p.oid)
      from readers r join pg_proc p on r.classid = 'pg_proc'::regclass and p.oid = r.objid and p.prosqlbody is not null
  ) s
  order by s.place, s.name;
end;

comment on function strata.adoption_dependents(regclass) is
  'Views, their rules and functions with an SQL body that are tied to a table itself, not to its name, and the statements that tie them to whatever has its name by then: collect them before it is exchanged, run them afterwards with the same search_path. Grants, owners and what reads these views stay as they are.';
