create or replace function strata.verify_rows(one_in int default 1, since timestamptz default null, folded text default null)
returns table (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric, change_count int)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
begin
  if since is null then
    since := strata.recompute_floor();
  end if;
  if strata.topology() = 'citus' then
    return query select r.*
        from strata.in_shards_rows('verify_rows', one_in::text, since::text, strata.folded_predicate('c')) j,
             jsonb_to_record(j) r (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric, change_count int);
    return;
  end if;
  return query execute format($verify$
    with stored as materialized (
      select b.account_address, b.asset_id, b."timestamp", b.balance, b.change_count
        from strata.account_balances b
       where b."timestamp" >= %1$L and %2$s
         and not exists (select from strata.assets a where a.asset_id = b.asset_id and a.observed)
    ), recomputed as materialized (
      select r.account_address, r.asset_id, r."timestamp", r.balance, r.change_count
        from strata.recompute_balances(null, null, %1$L, %3$s, %4$L) r
    )
    select 'stored but not recomputed', d.* from (table stored except table recomputed) d
    union all
    select 'recomputed but not stored', d.* from (table recomputed except table stored) d
  $verify$, since, strata.sample_predicate('b', one_in), one_in, folded);
end
$$;

comment on function strata.verify_rows(int, timestamptz, text) is
  'Balance rows that differ from a full recompute, both ways; one_in takes a sample of accounts. No row means that all are right. The other arguments are for its copies in the shards of a cluster.';
