create or replace function strata.in_shards_rows(function text, variadic arguments text[] default '{}') returns setof jsonb
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return query select strata.in_shard_rows(s.shard_id, s.stamp, in_shards_rows.function, in_shards_rows.arguments) from strata.shards s;
end
$$;

comment on function strata.in_shards_rows(text, text[]) is
  'in_shards() for a function that returns rows and writes nothing.';
