create or replace function strata.table_bytes() returns table (relation regclass, bytes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if strata.topology() = 'citus' then
    return query execute 'select s.table_name, sum(s.shard_size)::bigint from citus_shards s group by s.table_name';
  end if;
end
$$;

comment on function strata.table_bytes() is
  'Bytes of each table that lies on the nodes of a cluster, indexes and all; here it takes none. No rows on one server.';
