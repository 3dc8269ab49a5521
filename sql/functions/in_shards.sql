create or replace function strata.in_shards(function text, variadic arguments text[] default '{}') returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  result bigint;
begin
  -- Citus prepares the transactions of connections that it knows to have written: this tells it so, of every shard.
  update strata.shards set calls = calls + 1;
  select sum(strata.in_shard(s.shard_id, s.stamp, in_shards.function, in_shards.arguments)) into result from strata.shards s;
  return result;
end
$$;

comment on function strata.in_shards(text, text[]) is
  'Calls a function of shard_functions() inside every shard at once, in the caller''s transaction, which commits in two phases; returns the sum of what they return. Arguments are literals as text.';
