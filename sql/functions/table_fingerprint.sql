create or replace function strata.table_fingerprint(source regclass) returns text
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
  select md5(jsonb_build_object(
    'columns', (select jsonb_agg(jsonb_build_array(a.attname, a.atttypid::oid, a.atttypmod, a.attcollation::oid, a.attnotnull, a.attgenerated, a.attidentity,
                                                   a.attacl::text, pg_get_expr(d.adbin, d.adrelid)) order by a.attnum)
                  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                 where a.attrelid = source and a.attnum > 0 and not a.attisdropped),
    'constraints', (select jsonb_agg(jsonb_build_array(k.conname, pg_get_constraintdef(k.oid)) order by k.conname)
                      from pg_constraint k where k.conrelid = source),
    'indexes', (select jsonb_agg(pg_get_indexdef(i.indexrelid) order by i.indexrelid) from pg_index i where i.indrelid = source),
    'triggers', (select jsonb_agg(jsonb_build_array(pg_get_triggerdef(g.oid), g.tgenabled) order by g.tgname)
                   from pg_trigger g where g.tgrelid = source and not g.tgisinternal and g.tgname not like 'strata\_%'),
    'policies', (select jsonb_agg(jsonb_build_array(p.polname, p.polcmd, p.polpermissive, p.polroles::text,
                                                    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) order by p.polname)
                   from pg_policy p where p.polrelid = source),
    'table', jsonb_build_array(source::oid, c.relname, c.relnamespace::oid, c.relkind, c.relowner::oid, c.relacl::text, c.relrowsecurity,
                               c.relforcerowsecurity, c.relreplident, c.relhasrules, c.reloptions)
  )::text)
    from pg_class c where c.oid = source;
end;

comment on function strata.table_fingerprint(regclass) is
  'What a table is, but for its rows and the triggers of maintenance, as one value: equal as long as nobody has altered it.';
