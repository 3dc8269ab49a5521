create or replace function strata.free_set_name(schema_name text, table_name text) returns text
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  candidate text;
begin
  foreach candidate in array array[table_name, schema_name || '_' || table_name] loop
    if octet_length(candidate) <= 39 and not exists (
      select from strata.partition_sets s where s.set_name = candidate and s.parent is distinct from to_regclass(format('%I.%I', schema_name, table_name)))
    then
      return candidate;
    end if;
  end loop;
  raise exception 'there is no name left for a partition set of %.%', quote_ident(schema_name), quote_ident(table_name)
    using errcode = 'duplicate_object',
          hint = 'Sets are named table, or schema_table where that is taken, of 39 bytes at most: give the table a shorter name.';
end
$$;

comment on function strata.free_set_name(text, text) is
  'The name for the partition set of a table: that of the table, or schema_table where another table has it.';
