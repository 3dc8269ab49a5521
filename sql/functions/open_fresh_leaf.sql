create or replace function strata.open_fresh_leaf(leaf regclass) returns regclass
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  schema_name name;
  fresh       name := 'fresh_' || leaf::oid;
  has_rows    boolean;
  storage     text;
begin
  execute format('select exists (select from %s)', leaf) into has_rows;
  if has_rows then
    return leaf;
  end if;
  select n.nspname, coalesce(format(' with (%s)', array_to_string(c.reloptions, ', ')), '') into strict schema_name, storage
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = leaf;
  execute format('create table %I.%I (like %s including defaults including constraints including storage including compression)%s',
    schema_name, fresh, leaf, storage);
  return format('%I.%I', schema_name, fresh)::regclass;
end
$$;

comment on function strata.open_fresh_leaf(regclass) is
  'An empty table like this empty partition, without its indexes, to be filled and put in its place by place_week_partition(); the partition itself when it has rows.';
