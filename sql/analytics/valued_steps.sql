create or replace function strata.valued_steps(from_time timestamptz, to_time timestamptz, standard text)
returns table (account_address bytea, asset_id bigint, usd numeric, seconds numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
declare
  assets bigint[] := array(select a.asset_id from strata.assets a where a.standard = valued_steps.standard);
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows('valued_steps', from_time::text, to_time::text, standard::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, usd numeric, seconds numeric);
    return;
  end if;
  perform strata.require_retained('balances', from_time);
  return query execute format($steps$
    select k.account_address, k.asset_id,
           coalesce(k.usd_value, k.balance * strata.scale_of(k.asset_id) * (
             select p.usd from strata.prices p where p.asset_id = k.asset_id and p.priced_at <= k."timestamp" order by p.priced_at desc limit 1)),
           extract(epoch from lead(k."timestamp", 1, %3$L) over key - greatest(k."timestamp", %2$L))
      from (
        select b.account_address, b.asset_id, b."timestamp", b.balance, b.usd_value
          from strata.account_balances b where b."timestamp" >= %2$L and b."timestamp" < %3$L and b.asset_id = any (%4$L)
        union all
        (select distinct on (o.account_address, o.asset_id) o.account_address, o.asset_id, o."timestamp", o.balance, o.usd_value
           from (
             select b.account_address, b.asset_id, b."timestamp", b.balance, b.usd_value
               from strata.account_balances b where b."timestamp" >= %1$L and b."timestamp" < %2$L and b.asset_id = any (%4$L)
             union all
             select o.account_address, o.asset_id, o."timestamp", o.balance, null from strata.account_balances_opening o where o.asset_id = any (%4$L)
           ) o
          order by o.account_address, o.asset_id, o."timestamp" desc)
      ) k
    window key as (partition by k.account_address, k.asset_id order by k."timestamp")
  $steps$, (select s.opened_before from strata.balance_status s), from_time, to_time, assets);
end
$$;

comment on function strata.valued_steps(timestamptz, timestamptz, text) is
  'How long each account had which USD value in the assets of a standard within a span: the usd_value of its balance rows or, where they have none, their amount at the price known at their time; null where there is neither. What was brought into the span counts from its beginning.';
