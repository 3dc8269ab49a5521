create or replace function strata.twin_index(source regclass, target regclass) returns name
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  columns text[];
  twin    name;
begin
  select array_agg(pg_get_indexdef(i.indexrelid, k::int, true) order by k) into columns
    from pg_index i, generate_series(1, i.indnkeyatts) k where i.indrelid = source and i.indisreplident;
  select c.relname into twin
    from pg_index i join pg_class c on c.oid = i.indexrelid
   where i.indrelid = target and i.indisunique and i.indimmediate and i.indpred is null
     and (select array_agg(pg_get_indexdef(i.indexrelid, k::int, true) order by k) from generate_series(1, i.indnkeyatts) k) = columns
   order by i.indisprimary desc limit 1;
  if twin is null then
    raise exception '% has no unique index on (%), which is the replica identity of %', target, array_to_string(columns, ', '), source
      using errcode = 'undefined_object', hint = 'Create that index on the parent table, or choose another replica identity.';
  end if;
  return twin;
end
$$;

comment on function strata.twin_index(regclass, regclass) is
  'The unique index of the target on the same columns as the replica identity of the source.';
