create or replace function strata.in_shards_rows_of(account bytea, function text, variadic arguments text[] default '{}') returns setof jsonb
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  named bytea;
begin
  if account is null then
    return query select j from strata.in_shards_rows(function, variadic arguments) j;
    return;
  end if;
  -- The bytes that name the account's shard in strata.shards: the first that fall into it, as list_shards() drew them.
  select int4send(i) into named from generate_series(0, 200999) i
   where get_shard_id_for_distribution_column('strata.shards', int4send(i)) = get_shard_id_for_distribution_column('strata.shards', account)
   order by i limit 1;
  return query select strata.in_shard_rows(s.shard_id, s.stamp, in_shards_rows_of.function, in_shards_rows_of.arguments)
    from strata.shards s where s.account_address = named;
end
$$;

comment on function strata.in_shards_rows_of(bytea, text, text[]) is
  'in_shards_rows() for what concerns one account: called in its shard alone. In all of them where the account is null.';
