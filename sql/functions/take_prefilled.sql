create or replace function strata.take_prefilled(changes regclass, leaf regclass, out filled regclass, out row_count bigint)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  schema_name name;
  ready       name;
  fresh       name := 'fresh_' || leaf::oid;
  has_rows    boolean;
  index_name  name;
begin
  select n.nspname, strata.prefilled_name(pg_current_xact_id_if_assigned(), changes) into schema_name, ready
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = leaf;
  if ready is not null then
    filled := to_regclass(format('%I.%I', schema_name, ready));
  end if;
  if filled is null then
    return;
  end if;
  execute format('select exists (select from %s)', leaf) into has_rows;
  if has_rows then
    filled := null;
    return;
  end if;
  execute format('select count(*) from %s', filled) into row_count;
  for index_name in select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = filled loop
    execute format('alter index %I.%I rename to %I', schema_name, index_name, replace(index_name, ready, fresh));
  end loop;
  execute format('alter table %I.%I rename to %I', schema_name, ready, fresh);
end
$$;

comment on function strata.take_prefilled(regclass, regclass) is
  'Takes what prefill_week_partition() has made of a partition of changes for this transaction, and for no other, as the rows of an empty partition of balances that fill_leaf() would have filled; nulls where there is nothing, or the partition has rows.';
