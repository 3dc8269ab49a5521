create or replace function strata.balance_steps(
  from_time timestamptz, to_time timestamptz, unit text default 'hour', asset bigint default null, account bytea default null
)
returns table (
  account_address bytea, asset_id bigint, period timestamptz, "timestamp" timestamptz, until timestamptz, balance numeric, prior numeric, change_count int
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
declare
  openings text := 'strata.balances_before(%L, %L)';
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows_of(account, 'balance_steps', from_time::text, to_time::text, unit::text, asset::text, account::text) j, jsonb_to_record(j) r (account_address bytea, asset_id bigint, period timestamptz, "timestamp" timestamptz, until timestamptz, balance numeric, prior numeric, change_count int);
    return;
  end if;
  perform strata.require_retained('balances', from_time);
  if account is not null then
    openings := $opening$(
      select %3$L::bytea as account_address, a.asset_id, l.balance, l."timestamp"
        from strata.account_keys(%3$L, %2$L) a (asset_id), strata.last_balance(%3$L, a.asset_id, %1$L) l where l.balance is not null)$opening$;
  end if;
  return query execute format($steps$
    select k.account_address, k.asset_id, k.period, k."timestamp", lead(k."timestamp", 1, %1$L) over key, k.balance, lag(k.balance, 1, 0::numeric) over key, k.change_count
      from (
        select b.account_address, b.asset_id, %2$s as period, b."timestamp", b.balance, greatest(b.change_count, 1) as change_count
          from strata.account_balances b where b."timestamp" >= %3$L and b."timestamp" < %1$L%4$s
        union all
        select o.account_address, o.asset_id, null, %3$L, o.balance, 0 from %5$s o
      ) k
    window key as (partition by k.account_address, k.asset_id order by k."timestamp", k.period nulls first)
  $steps$, to_time, strata.period_expression(unit, 'b."timestamp"'), from_time,
    concat(' and b.asset_id = ' || asset, ' and b.account_address = ' || quote_literal(account)),
    format(openings, from_time, asset, account));
end
$$;

comment on function strata.balance_steps(timestamptz, timestamptz, text, bigint, bytea) is
  'The balance rows of a span of time, each with the balance before it (prior) and the instant until which it held, and the hour, day, week or month it is of. A key that had a balance before begins with a row at from_time whose period is null. Of one asset or account, or of all: linear in the rows of the span.';
