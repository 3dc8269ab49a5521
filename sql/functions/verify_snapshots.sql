create or replace function strata.verify_snapshots(one_in int default 1)
returns table (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
as $$
declare
  since timestamptz := (select greatest(s.observations_from, s.opened_before) from strata.balance_status s);
begin
  if strata.topology() = 'citus' then
    return query select r.*
        from strata.in_shards_rows('verify_snapshots', one_in::text) j,
             jsonb_to_record(j) r (problem text, account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric);
    return;
  end if;
  return query execute format($verify$
    with observed as materialized (
      select distinct on (r.account_address, r.asset_id, p.period)
             r.account_address, r.asset_id, p.period, r.balance, r.usd_value, r.data
        from strata.snapshot_rows r
        join strata.assets a on a.asset_id = r.asset_id
       cross join lateral (select strata.period_start(a.grain, r.observed_at) as period) p
       where r.observed_at >= %1$L and %2$s
       order by 1, 2, 3, r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc
    )
    select 'observed but read otherwise', o.account_address, o.asset_id, o.period, o.balance
      from observed o
      left join lateral (
        select b.balance, b.usd_value, b.data from strata.account_balances b
         where b.account_address = o.account_address and b.asset_id = o.asset_id and b."timestamp" <= o.period
         order by b."timestamp" desc limit 1
      ) b on true
      left join strata.account_balances_opening k on k.account_address = o.account_address and k.asset_id = o.asset_id
     where case when b.balance is null then k.balance is distinct from o.balance
                else (b.balance, b.usd_value, b.data) is distinct from (o.balance, o.usd_value, o.data) end
    union all
    select 'stored but not observed', b.account_address, b.asset_id, b."timestamp", b.balance
      from strata.account_balances b
      join strata.assets a on a.asset_id = b.asset_id and a.observed
      left join observed o on o.account_address = b.account_address and o.asset_id = b.asset_id and o.period = b."timestamp"
     where b."timestamp" >= %1$L and %3$s and o.period is null
  $verify$, since, strata.sample_predicate('r', one_in), strata.sample_predicate('b', one_in));
end
$$;

comment on function strata.verify_snapshots(int) is
  'Observed balances that read otherwise than the latest snapshot of their period says, and stored ones that nobody observed; one_in takes a sample of accounts. No row means that all are right.';
