create or replace function strata.topology() returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
return case when to_regclass('strata.shards') is null then 'single' else 'citus' end;

comment on function strata.topology() is
  'Where the warehouse lies: single, or citus once distribute() has put it on a cluster. In the copy of a function that works inside one shard, this call stands replaced by ''shard'': see make_shard_functions().';
