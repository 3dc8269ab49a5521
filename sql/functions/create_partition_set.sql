create or replace function strata.create_partition_set(
  set_name text, parent regclass, time_column name, hash_column name, modulus int default 4, groups jsonb default null
) returns strata.partition_sets
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  result strata.partition_sets;
  key    text := (select pg_get_partkeydef(parent));
  keys   text;
begin
  if key is null or key not in (format('RANGE (%I)', time_column)) then
    raise exception '% is not partitioned by range of %', parent, quote_ident(time_column)
      using errcode = 'wrong_object_type', hint = format('Create it with PARTITION BY RANGE (%I).', time_column);
  end if;
  if not exists (select from pg_attribute a where a.attrelid = parent and a.attname = time_column
                    and a.atttypid = 'timestamptz'::regtype and a.attnotnull) then
    raise exception 'column % of % is not timestamptz not null', quote_ident(time_column), parent
      using errcode = 'datatype_mismatch';
  end if;
  if not exists (select from pg_attribute a where a.attrelid = parent and a.attname = hash_column and a.attnum > 0) then
    raise exception 'column % of % does not exist', quote_ident(hash_column), parent using errcode = 'undefined_column';
  end if;
  select pg_get_indexdef(i.indexrelid) into keys
    from pg_index i
   where i.indrelid = parent and i.indisunique and not exists (
     select from pg_attribute a where a.attrelid = parent and a.attname = hash_column and a.attnum = any (i.indkey::int2[]));
  if keys is not null then
    raise exception '% cannot be cut by %, which is not in its unique index: %', parent, quote_ident(hash_column), keys
      using errcode = 'invalid_table_definition', hint = format('Every primary key and unique index must have %I among its columns.', hash_column);
  end if;
  perform strata.check_groups(create_partition_set.set_name, groups);
  insert into strata.partition_sets (set_name, parent, time_column, hash_column, modulus, layout, groups)
  values (set_name, parent, time_column, hash_column, modulus, case when groups is null then 'hash' else 'list' end, groups)
  on conflict on constraint partition_sets_pkey do nothing;
  select * into strict result from strata.partition_sets p where p.set_name = create_partition_set.set_name;
  if result.parent <> create_partition_set.parent then
    raise exception 'the partition set % is the table % already', quote_literal(result.set_name), result.parent
      using errcode = 'duplicate_object', hint = 'Weeks are named after their set: give this table''s set another name.';
  end if;
  return result;
end
$$;

comment on function strata.create_partition_set(text, regclass, name, name, int, jsonb) is
  'Puts a table that is partitioned by range of a timestamptz column under management: weeks × modulus hash partitions of hash_column, or, with groups ([{"name": "holding", "values": ["…"]}]), list partitions of its values and one for all others. A set of that name for the same table stays as it is; for another table it is refused.';
