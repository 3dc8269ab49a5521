create or replace function strata.refuse_on_cluster(what text, instead text) returns void
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if strata.topology() = 'citus' then
    raise exception '% makes no sense on a cluster, where the shards are the hash partitions', what
      using errcode = 'feature_not_supported', hint = instead || '.';
  end if;
end
$$;

comment on function strata.refuse_on_cluster(text, text) is
  'An error for what only one server can do, with what to do instead.';
