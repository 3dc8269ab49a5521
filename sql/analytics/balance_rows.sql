create or replace function strata.balance_rows(from_time timestamptz, to_time timestamptz, unit text, asset bigint default null)
returns table (account_address bytea, period timestamptz, change_count bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
begin
  if strata.topology() = 'citus' then
    return query select r.* from strata.in_shards_rows('balance_rows', from_time::text, to_time::text, unit::text, asset::text) j, jsonb_to_record(j) r (account_address bytea, period timestamptz, change_count bigint);
    return;
  end if;
  return query execute format($rows$
    select b.account_address, %s, sum(greatest(b.change_count, 1)) from strata.account_balances b
     where b."timestamp" >= %L and b."timestamp" < %L%s group by 1, 2
  $rows$, strata.period_expression(unit, 'b."timestamp"'), from_time, to_time, ' and b.asset_id = ' || asset);
end
$$;

comment on function strata.balance_rows(timestamptz, timestamptz, text, bigint) is
  'Which accounts had changes in which hour, day, week or month (UTC) of a span, and how many: one row each.';
