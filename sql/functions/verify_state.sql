create or replace function strata.verify_state(one_in int default 1)
returns table (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
begin
  if strata.topology() = 'citus' then
    return query select r.*
        from strata.in_shards_rows('verify_state', one_in::text) j,
             jsonb_to_record(j) r (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric);
    return;
  end if;
  return query execute format($verify$
    with state as materialized (
      select c.account_address, c.asset_id, c."timestamp", c.balance from strata.account_balances_current c where %1$s
    ), newest as materialized (
      select distinct on (k.account_address, k.asset_id) k.account_address, k.asset_id, k."timestamp", k.balance
        from (
          select b.account_address, b.asset_id, b."timestamp", b.balance, true as retained
            from strata.account_balances b
           where b."timestamp" >= (select s.opened_before from strata.balance_status s) and %2$s
          union all
          select o.account_address, o.asset_id, o."timestamp", o.balance, false
            from strata.account_balances_opening o where %3$s
        ) k
       order by k.account_address, k.asset_id, k.retained desc, k."timestamp" desc
    )
    select 'state without such a newest balance', d.* from (table state except table newest) d
    union all
    select 'newest balance without such a state', d.* from (table newest except table state) d
  $verify$, strata.sample_predicate('c', one_in), strata.sample_predicate('b', one_in), strata.sample_predicate('o', one_in));
end
$$;

comment on function strata.verify_state(int) is
  'Keys whose current balance is not their newest stored balance, both ways; one_in takes a sample of accounts.';
