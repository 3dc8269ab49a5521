create or replace function strata.shard_stamp() returns text
language sql stable
set search_path = pg_catalog, strata, pg_temp
as $$
  select substr(md5(string_agg(pg_get_functiondef(p.oid), '' order by p.proname)), 1, 8)
    from pg_proc p where p.pronamespace = 'strata'::regnamespace and p.proname = any (strata.shard_functions() || array['make_shard_functions'])
$$;

comment on function strata.shard_stamp() is
  'Tells the texts of the functions that work in shards from those of another version.';
