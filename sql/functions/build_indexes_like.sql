create or replace function strata.build_indexes_like(model regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  statement text;
begin
  for statement in
    select case
             when con.oid is not null then format('alter table %s add %s', target, pg_get_constraintdef(con.oid))
             else format('create %sindex on %s%s', case when i.indisunique then 'unique ' else '' end, target,
                         substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), ' USING ')))
           end
      from pg_index i
      left join pg_constraint con on con.conindid = i.indexrelid and con.contype in ('p', 'u') and con.conrelid = model
     where i.indrelid = model and i.indisvalid
     order by i.indisprimary desc, i.indexrelid
  loop
    execute statement;
  end loop;
end
$$;

comment on function strata.build_indexes_like(regclass, regclass) is
  'Builds on one table the primary key, unique constraints and indexes of another, so that an ATTACH in its place finds them.';
