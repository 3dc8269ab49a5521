create or replace function strata.in_shard(shard bigint, stamp text, function text, arguments text[]) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
-- Costs that say "never" would have every statement compiled; a coordinator's sessions have it off, a worker's have not.
set jit = off
as $$
declare
  result bigint;
begin
  perform strata.await_prepared();
  if not exists (select from pg_proc p where p.pronamespace = 'strata_shards'::regnamespace and p.proname = format('%s_%s_%s', function, shard, stamp)) then
    perform strata.make_shard_functions(shard, stamp);
  end if;
  execute format('select strata_shards.%I(%s)', format('%s_%s_%s', function, shard, stamp),
                 (select string_agg(quote_nullable(a), ', ' order by place) from unnest(arguments) with ordinality u(a, place))) into result;
  return result;
end
$$;

comment on function strata.in_shard(bigint, text, text, text[]) is
  'On a worker: calls the copy of a function that works on this shard, and makes it first where the shard came here since; returns what it returns. See in_shards().';
