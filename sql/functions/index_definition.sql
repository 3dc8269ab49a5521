create or replace function strata.index_definition(index regclass, target regclass) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  ddl    text := pg_get_indexdef(index);
  prefix text;
begin
  select format('CREATE %sINDEX %I ON %s%s ', case when i.indisunique then 'UNIQUE ' else '' end, c.relname,
                case when c.relkind = 'I' then 'ONLY ' else '' end, i.indrelid::regclass) into strict prefix
    from pg_index i join pg_class c on c.oid = i.indexrelid where i.indexrelid = index;
  if not starts_with(ddl, prefix) then
    raise exception 'cannot read the definition of index %', index;
  end if;
  return format('create %sindex on %s ', case when prefix like 'CREATE UNIQUE %' then 'unique ' else '' end, target) || substr(ddl, length(prefix) + 1);
end
$$;

comment on function strata.index_definition(regclass, regclass) is
  'The statement that creates the same index on another table, under a name that PostgreSQL chooses.';
