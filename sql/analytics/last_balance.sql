create or replace function strata.last_balance(
  account bytea, asset bigint, cut timestamptz, out balance numeric, out "timestamp" timestamptz
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
-- A cluster's coordinator writes instants as its session does, and the workers read ISO.
set datestyle = 'ISO'
-- Planned for the values at hand: a plan for any account and any time would open every week.
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
  state  record;
  upper  timestamptz := cut;
  lower  timestamptz;
  passed int := 0;
  stride int := 1;
begin
  select c.balance, c."timestamp" into state
    from strata.account_balances_current c where c.account_address = account and c.asset_id = asset;
  if (state."timestamp" is null or state."timestamp" < cut) and not strata.state_is_stale() then
    balance := state.balance;
    "timestamp" := state."timestamp";
    return;
  end if;
  -- The week of that time, then strides back that grow with the way: a statement costs little, but each week that it might need
  -- has to be planned. On a cluster each statement is a journey.
  if cut < opened then
    opened := '-infinity';
  end if;
  loop
    lower := greatest(opened, case
      when passed < 1000 and isfinite(upper) then strata.week_start(upper - interval '1 microsecond') - interval '7 days' * (stride - 1)
      else '-infinity' end);
    select b.balance, b."timestamp" into balance, "timestamp"
      from strata.account_balances b
     where b.account_address = account and b.asset_id = asset and b."timestamp" < upper and b."timestamp" >= lower
     order by b."timestamp" desc limit 1;
    if found then
      return;
    end if;
    exit when lower <= opened;
    upper := lower;
    passed := passed + stride;
    stride := 1 + passed / case strata.topology() when 'citus' then 1 else 8 end;
  end loop;
  select o.balance, o."timestamp" into balance, "timestamp"
    from strata.account_balances_opening o where o.account_address = account and o.asset_id = asset and o."timestamp" < cut;
end
$$;

comment on function strata.last_balance(bytea, bigint, timestamptz) is
  'The last balance row of a key before an instant, or the opening that retention carried forward; nulls where there is none. From the state where that is early enough, else week by week backwards: the cost does not grow with the history.';
