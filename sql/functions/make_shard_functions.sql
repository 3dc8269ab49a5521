create or replace function strata.make_shard_functions(shard bigint, stamp text) returns int
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  named  text := array_to_string(strata.shard_functions(), '|');
  made   int := 0;
  source record;
  place  record;
  body   text;
begin
  perform pg_advisory_xact_lock(hashtextextended('pgstrata functions of shard ' || shard, 0));
  perform set_config('citus.enable_ddl_propagation', 'off', true);
  for source in
    select p.oid, p.proname from pg_proc p where p.pronamespace = 'strata'::regnamespace and p.proname = any (strata.shard_functions())
  loop
    body := regexp_replace(pg_get_functiondef(source.oid), '\mstrata\.(' || named || ')\(', format('strata_shards.\1_%s_%s(', shard, stamp), 'g');
    body := regexp_replace(body, '\m(' || named || ')\.', format('\1_%s_%s.', shard, stamp), 'g');  -- a function's name qualifies its arguments
    body := replace(body, 'strata.topology()', '''shard''');
    for place in execute $place$
      select r.relname as name, shard_name(s.logicalrelid, s.shardid) as stored
        from pg_dist_shard own
        join pg_dist_partition o on o.logicalrelid = own.logicalrelid
        join pg_dist_partition d on d.colocationid = o.colocationid or d.partmethod = 'n'
        join pg_dist_shard s on s.logicalrelid = d.logicalrelid and (d.partmethod = 'n' or s.shardminvalue = own.shardminvalue)
        join pg_class r on r.oid = d.logicalrelid and r.relnamespace = 'strata'::regnamespace and not r.relispartition
       where own.shardid = $1
    $place$ using shard loop
      body := regexp_replace(body, format('\m(strata|pg_temp)\.%s\M', place.name), place.stored, 'g');
    end loop;
    execute body;
    made := made + 1;
  end loop;
  return made;
end
$$;

comment on function strata.make_shard_functions(bigint, text) is
  'On a worker: copies the functions of shard_functions() into strata_shards under names that end in the shard and the stamp, with every distributed and reference table replaced by its part in that shard. So one text folds a whole warehouse and a shard of it. Returns the functions made.';
