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
