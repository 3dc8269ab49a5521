create or replace function strata.in_shard_rows(shard bigint, stamp text, function text, arguments text[]) returns setof jsonb
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
-- Costs that say "never" would have every statement compiled; a coordinator's sessions have it off, a worker's have not.
set jit = off
as $$
begin
  if to_regproc(format('strata_shards.%s_%s_%s', function, shard, stamp)) is null then
    raise exception 'shard % has come to this node without its functions', shard
      using errcode = 'object_not_in_prerequisite_state', hint = 'Run `pgstrata migrate`, which makes them, as the next fold does.';
  end if;
  return query execute format('select to_jsonb(r) from strata_shards.%I(%s) r', format('%s_%s_%s', function, shard, stamp),
    (select string_agg(quote_nullable(a), ', ' order by place) from unnest(arguments) with ordinality u(a, place)));
end
$$;

comment on function strata.in_shard_rows(bigint, text, text, text[]) is
  'in_shard() for a function that returns rows and writes nothing: each as JSON, whose numbers are exact.';
