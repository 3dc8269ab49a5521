create or replace function strata.balances_before(cut timestamptz, asset bigint default null)
returns table (account_address bytea, asset_id bigint, balance numeric, "timestamp" timestamptz)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
  of_key text := 'k.account_address, k.asset_id, k.balance, k."timestamp"';
  of_asset text := coalesce(' and k.asset_id = ' || asset, '');
  -- Keys at rest since then are read from the state, and only the others from history.
  is_stale boolean := strata.state_is_stale();
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows('balances_before', cut::text, asset::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, balance numeric, "timestamp" timestamptz);
    return;
  end if;
  perform strata.require_retained('balances', cut);
  if not is_stale then
    return query execute format('select %s from strata.account_balances_current k where k."timestamp" < %L%s', of_key, cut, of_asset);
    if not exists (select from strata.account_balances_current c where c."timestamp" >= cut and (asset is null or c.asset_id = asset)) then
      return;
    end if;
  end if;
  return query execute format($history$
    select distinct on (k.account_address, k.asset_id) %1$s
      from (
        select %1$s from strata.account_balances k where k."timestamp" >= %2$L and k."timestamp" < %3$L%4$s
        union all
        select %1$s from strata.account_balances_opening k where true%4$s
      ) k %5$s
     order by k.account_address, k.asset_id, k."timestamp" desc
  $history$, of_key, opened, cut, of_asset, case when not is_stale then format(
      'join strata.account_balances_current s on s.account_address = k.account_address and s.asset_id = k.asset_id and s."timestamp" >= %L', cut) end);
end
$$;

comment on function strata.balances_before(timestamptz, bigint) is
  'The last balance of every key (of one asset, or of all) in periods that begin before an instant, and the period it is from. Balances of zero are among them. Keys at rest since then come from the state, the others from the weeks before.';
