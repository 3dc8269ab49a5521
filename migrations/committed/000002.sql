--! Previous: sha1:af5ea603f2290d32931279f0b3ec6772b1d7e672
--! Hash: sha1:1dc28bda495647c222d526053e91d277bdc2aff3

create table strata.prices (
  asset_id  bigint not null references strata.assets,
  priced_at timestamptz not null,
  usd       numeric not null check (usd >= 0 and usd < 'Infinity'),
  source    text not null default '',
  primary key (asset_id, priced_at)
);
comment on table strata.prices is 'What one whole unit of an asset was worth, from an instant on until the next price of it';
comment on column strata.prices.usd is 'US dollars for one whole unit (10^decimals of the smallest)';
comment on column strata.prices.source is 'Where the price is from, as whoever loaded it says';

create table strata.burn_accounts (
  account_address bytea primary key,
  mints           boolean not null default false,
  note            text not null default ''
);
comment on table strata.burn_accounts is 'Accounts that nobody holds: analytics leaves them out of holders and flows. Add those of your chain';
comment on column strata.burn_accounts.mints is 'The null account: transfers from it are mints, transfers to it are burns';
insert into strata.burn_accounts (account_address, mints, note) values
  ('\x0000000000000000000000000000000000000000', true, 'the zero address'),
  ('\x000000000000000000000000000000000000dead', false, '0x…dEaD'),
  ('\xdead000000000000000042069420694206942069', false, '0xdead…');

--! Included analytics/ratio.sql
create or replace function strata.ratio(part numeric, whole numeric, digits int default 18) returns numeric
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
-- Powers of ten by their text: power() loses digits of small ones before PostgreSQL 16.
return div(part * ('1e' || digits::text)::numeric, nullif(whole, 0)) * ('1e-' || digits::text)::numeric;

comment on function strata.ratio(numeric, numeric, int) is
  'part / whole with so many decimals, cut off and not rounded: the same digits for the same numbers, however large. Null where whole is 0.';
--! EndIncluded analytics/ratio.sql
--! Included analytics/require_retained.sql
create or replace function strata.require_retained(what text, since timestamptz) returns void
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  floor timestamptz := (
    select case what when 'balances' then s.opened_before when 'changes' then s.changes_from else s.observations_from end
      from strata.balance_status s);
begin
  if since is null then
    raise exception 'the instant to begin with is missing' using errcode = 'null_value_not_allowed';
  end if;
  if since < floor then
    raise exception '% before % were dropped by retention, and % is earlier', what, floor, since
      using errcode = 'datetime_field_overflow', hint = format('Ask from %s on.', floor);
  end if;
end
$$;

comment on function strata.require_retained(text, timestamptz) is
  'Refuses an instant for which balances, changes or snapshots are no longer retained, and says from when on they are.';
--! EndIncluded analytics/require_retained.sql
--! Included analytics/require_asset.sql
create or replace function strata.require_asset(asset bigint) returns bigint
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if not exists (select from strata.assets a where a.asset_id = asset) then
    raise exception 'there is no asset %', coalesce(asset::text, 'null')
      using errcode = 'undefined_object', hint = 'Assets and their ids are the rows of strata.assets.';
  end if;
  return asset;
end
$$;

comment on function strata.require_asset(bigint) is 'The asset, or an error that says where assets are listed.';
--! EndIncluded analytics/require_asset.sql
--! Included analytics/scale_of.sql
create or replace function strata.scale_of(asset bigint) returns numeric
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  -- By its text: power() loses digits of small powers before PostgreSQL 16.
  select ('1e-' || coalesce((select a.decimals from strata.assets a where a.asset_id = asset), 0)::text)::numeric;
end;

comment on function strata.scale_of(bigint) is
  'What a balance of the asset is multiplied with to be an amount in whole units: 10 to the power of its decimals, inverted; 1 while they are unknown.';
--! EndIncluded analytics/scale_of.sql
--! Included analytics/periods.sql
create or replace function strata.periods(unit text, from_time timestamptz, to_time timestamptz, asset bigint default null)
returns table (period timestamptz, ends timestamptz)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  first timestamptz;
  step  interval := case unit when 'hour' then interval '1 hour' when 'day' then interval '1 day'
                              when 'week' then interval '7 days' when 'month' then interval '1 month' end;
begin
  if step is null then
    raise exception 'there is no period %', coalesce(quote_literal(unit), 'null')
      using errcode = 'invalid_parameter_value', hint = 'Take hour, day, week (Sunday to Sunday) or month.';
  end if;
  if from_time is null or to_time is null or not isfinite(from_time) or not isfinite(to_time) then
    raise exception 'a span of time needs a beginning and an end' using errcode = 'invalid_parameter_value',
      hint = 'Give two instants, such as 2026-01-01 and 2026-02-01.';
  end if;
  if from_time >= to_time then
    raise exception 'the span ends at %, which is not later than its beginning %', to_time, from_time
      using errcode = 'invalid_parameter_value', hint = 'Put the earlier instant first.';
  end if;
  if unit = 'hour' and exists (select from strata.assets a where a.asset_id = asset and a.grain = 'day') then
    raise exception 'the balances of asset % are kept by the day, not by the hour', asset
      using errcode = 'invalid_parameter_value', hint = 'Take day, week or month.';
  end if;
  first := case unit when 'week' then strata.week_start(from_time) else date_trunc(unit, from_time) end;
  return query select g, g + step from generate_series(first, to_time - interval '1 microsecond', step) g;
end
$$;

comment on function strata.periods(text, timestamptz, timestamptz, bigint) is
  'The hours, days, weeks (Sunday to Sunday) or months in UTC that a span touches, each whole: from the one that holds from_time to the one before to_time. Refuses hours for an asset that is kept by the day.';
--! EndIncluded analytics/periods.sql
--! Included analytics/period_expression.sql
create or replace function strata.period_expression(unit text, instant text) returns text
language plpgsql immutable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return case unit
    when 'hour' then format('date_bin(interval ''1 hour'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'day' then format('date_bin(interval ''1 day'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'week' then format('date_bin(interval ''7 days'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'month' then format('date_trunc(''month'', %s, ''UTC'')', instant)
  end;
end
$$;

comment on function strata.period_expression(text, text) is
  'SQL text of the start of the period (hour, day, week or month, UTC) that holds an instant, written out because a call per row would cost more than all the rest; see strata.periods().';
--! EndIncluded analytics/period_expression.sql
--! Included analytics/span_of.sql
create or replace function strata.span_of(unit text, from_time timestamptz, to_time timestamptz, asset bigint default null) returns tstzrange
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  perform strata.require_retained('balances', from_time);
  -- A first period that retention has cut begins where balances begin: at its end they are what they were.
  return (
    select tstzrange(greatest(min(p.period), s.opened_before), max(p.ends))
      from strata.periods(unit, from_time, to_time, asset) p, strata.balance_status s group by s.opened_before);
end
$$;

comment on function strata.span_of(text, timestamptz, timestamptz, bigint) is
  'The time that strata.periods() of a span covers, as far as balances are retained.';
--! EndIncluded analytics/span_of.sql
--! Included analytics/last_balance.sql
create or replace function strata.last_balance(
  account bytea, asset bigint, cut timestamptz, out balance numeric, out "timestamp" timestamptz
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
-- Planned for the values at hand: a plan for any account and any time would open every week.
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
  state  record;
  upper  timestamptz := cut;
  lower  timestamptz;
begin
  select c.balance, c."timestamp" into state
    from strata.account_balances_current c where c.account_address = account and c.asset_id = asset;
  if (state."timestamp" is null or state."timestamp" < cut) and not strata.state_is_stale() then
    balance := state.balance;
    "timestamp" := state."timestamp";
    return;
  end if;
  -- The week of that time, then ever longer strides back: to plan for years of weeks costs more than to look into the few
  -- that are needed.
  if cut < opened then
    opened := '-infinity';
  end if;
  for stride in 0..12 loop
    lower := greatest(opened, case
      when stride < 12 and isfinite(upper) then strata.week_start(upper - interval '1 microsecond') - interval '7 days' * (2 ^ stride - 1)
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
  end loop;
  select o.balance, o."timestamp" into balance, "timestamp"
    from strata.account_balances_opening o where o.account_address = account and o.asset_id = asset and o."timestamp" < cut;
end
$$;

comment on function strata.last_balance(bytea, bigint, timestamptz) is
  'The last balance row of a key before an instant, or the opening that retention carried forward; nulls where there is none. From the state where that is early enough, else week by week backwards: the cost does not grow with the history.';
--! EndIncluded analytics/last_balance.sql
--! Included functions/balance_at.sql
create or replace function strata.balance_at(account bytea, asset bigint, instant timestamptz) returns numeric
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
set plan_cache_mode = force_custom_plan
as $$
declare
  of_asset record;
  period   timestamptz;
  dropped  timestamptz;
  last     record;
  floor    timestamptz;
  latest   numeric;
  within   numeric := 0;
  changes  bigint := 0;
begin
  select a.grain, a.observed into of_asset from strata.assets a where a.asset_id = asset;
  period := strata.period_start(of_asset.grain, instant);
  select case when of_asset.observed then s.observations_from else s.changes_from end into dropped from strata.balance_status s;
  select l.balance, l."timestamp" into last from strata.last_balance(account, asset, instant + interval '1 microsecond') l;
  -- A late row may have made an old week anew, without the changes that were dropped with it.
  if period is null or dropped > period then
    return coalesce(last.balance, 0);  -- exact to the period, not to the instant
  end if;
  if of_asset.observed then
    select r.balance into latest from strata.snapshot_rows r
     where r.account_address = account and r.asset_id = asset and r.observed_at between period and instant
     order by r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc limit 1;
    if latest is not null then
      return latest;
    end if;
  else
    select coalesce(sum(c.delta), 0), count(*) into within, changes from strata.balance_changes c
     where c.account_address = account and c.asset_id = asset and c.block_time between period and instant;
  end if;
  if last."timestamp" = period then
    if changes = 0 then
      -- Either the period's changes all came later, or the week that held them is gone; rarely asked, for it looks at every week.
      select min(p.lower_bound) into floor
        from strata.set_partitions(case when of_asset.observed then 'snapshot_rows' else 'balance_changes' end) p;
      if floor is null or floor > period then
        return last.balance;
      end if;
    end if;
    select l.balance into last.balance from strata.last_balance(account, asset, period) l;
  end if;
  return coalesce(last.balance, 0) + within;
end
$$;

comment on function strata.balance_at(bytea, bigint, timestamptz) is
  'Balance of an account in an asset at an instant, its changes at that very instant included: the last period before, plus the changes since; of an observed balance the last snapshot. Where those changes or snapshots are no longer retained it is the balance at the end of the period.';
--! EndIncluded functions/balance_at.sql
--! Included analytics/account_keys.sql
create or replace function strata.account_keys(account bytea, asset bigint default null) returns setof bigint
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set plan_cache_mode = force_custom_plan
as $$
begin
  if not strata.state_is_stale() then
    return query select c.asset_id from strata.account_balances_current c
                  where c.account_address = account and (asset is null or c.asset_id = asset);
    return;
  end if;
  return query
    select distinct h.asset_id from strata.balance_history h
     where h.account_address = account and (asset is null or h.asset_id = asset);
end
$$;

comment on function strata.account_keys(bytea, bigint) is
  'The assets that an account has ever had a balance in (one of them, where it is given): from the state, or from history while the state is stale.';
--! EndIncluded analytics/account_keys.sql
--! Included analytics/balances_before.sql
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
--! EndIncluded analytics/balances_before.sql
--! Included analytics/balances_at.sql
create or replace function strata.balances_at(instant timestamptz default null, asset bigint default null, account bytea default null)
returns table (account_address bytea, asset_id bigint, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  kind   record;
  period timestamptz;
begin
  if account is not null then
    return query
      select account, k.asset_id, k.balance
        from (select a.asset_id, case when instant is null then (strata.last_balance(account, a.asset_id, 'infinity')).balance
                                      else strata.balance_at(account, a.asset_id, instant) end as balance
                from strata.account_keys(account, asset) a (asset_id)) k
       where k.balance <> 0;
    return;
  end if;
  if instant is null then
    return query select k.account_address, k.asset_id, k.balance from strata.balances_before('infinity', asset) k where k.balance <> 0;
    return;
  end if;
  -- Assets of one grain and kind at a time: they share their period, and what tells of the time since it began.
  for kind in
    select a.grain, a.observed, array_agg(a.asset_id) as assets, case when a.observed then s.observations_from else s.changes_from end as retained
      from strata.assets a, strata.balance_status s where asset is null or a.asset_id = asset group by 1, 2, 4
  loop
    period := strata.period_start(kind.grain, instant);
    if period < kind.retained then
      period := instant + interval '1 microsecond';  -- what happened since is gone: exact to the period, not to the instant
    end if;
    return query execute format($at$
      select account_address, asset_id, %1$s
        from (select b.account_address, b.asset_id, b.balance from strata.balances_before(%2$L, %3$L) b where b.asset_id = any (%4$L)) k
        full join (%5$s) since using (account_address, asset_id)
       where %1$s <> 0
    $at$, case when kind.observed then 'coalesce(since.balance, k.balance)' else 'coalesce(k.balance, 0) + coalesce(since.delta, 0)' end,
      period, asset, kind.assets, format(
        case when kind.observed then $snapshots$
          select distinct on (r.account_address, r.asset_id) r.account_address, r.asset_id, r.balance from strata.snapshot_rows r
           where r.observed_at between %L and %L and r.asset_id = any (%L)
           order by r.account_address, r.asset_id, r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc
        $snapshots$ else $changes$
          select c.account_address, c.asset_id, sum(c.delta) as delta from strata.balance_changes c
           where c.block_time between %L and %L and c.asset_id = any (%L) group by c.account_address, c.asset_id
        $changes$ end, period, instant, kind.assets));
  end loop;
end
$$;

comment on function strata.balances_at(timestamptz, bigint, bytea) is
  'Every balance but zeros as of an instant, as strata.balance_at() has it: of all accounts or one, in all assets or one. Without an instant the newest balances. Null and burn accounts are among them; see strata.holders_at().';
--! EndIncluded analytics/balances_at.sql
--! Included analytics/holders_at.sql
create or replace function strata.holders_at(asset bigint, instant timestamptz default null)
returns table (account_address bytea, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return query
    select b.account_address, b.balance
      from strata.balances_at(instant, strata.require_asset(asset)) b
     where b.balance > 0 and not exists (select from strata.burn_accounts n where n.account_address = b.account_address);
end
$$;

comment on function strata.holders_at(bigint, timestamptz) is
  'Accounts with a positive balance of an asset as of an instant (or the newest), without the null and burn accounts.';
--! EndIncluded analytics/holders_at.sql
--! Included analytics/balance_steps.sql
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
--! EndIncluded analytics/balance_steps.sql
--! Included analytics/balance_rows.sql
create or replace function strata.balance_rows(from_time timestamptz, to_time timestamptz, unit text, asset bigint default null)
returns table (account_address bytea, period timestamptz, change_count bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
begin
  return query execute format($rows$
    select b.account_address, %s, sum(greatest(b.change_count, 1)) from strata.account_balances b
     where b."timestamp" >= %L and b."timestamp" < %L%s group by 1, 2
  $rows$, strata.period_expression(unit, 'b."timestamp"'), from_time, to_time, ' and b.asset_id = ' || asset);
end
$$;

comment on function strata.balance_rows(timestamptz, timestamptz, text, bigint) is
  'Which accounts had changes in which hour, day, week or month (UTC) of a span, and how many: one row each.';
--! EndIncluded analytics/balance_rows.sql
--! Included analytics/balance_movements.sql
create or replace function strata.balance_movements(
  from_time timestamptz, to_time timestamptz, unit text default 'day', asset bigint default null, account bytea default null
)
returns table (account_address bytea, asset_id bigint, period timestamptz, inflow numeric, outflow numeric, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
begin
  perform from strata.periods(unit, from_time, to_time, asset);
  if exists (select from strata.assets a where not a.observed and (asset is null or a.asset_id = asset)) then
    perform strata.require_retained('changes', from_time);
    return query execute format($changes$
      select c.account_address, c.asset_id, %s as period, coalesce(sum(c.delta) filter (where c.delta > 0), 0),
             coalesce(-sum(c.delta) filter (where c.delta < 0), 0), count(*)
        from strata.balance_changes c where c.block_time >= %L and c.block_time < %L%s group by 1, 2, 3
    $changes$, strata.period_expression(unit, 'c.block_time'), from_time, to_time,
      concat(' and c.asset_id = ' || asset, ' and c.account_address = ' || quote_literal(account)));
  end if;
  -- Observed balances have no changes: what moved is the difference of one balance to the next.
  if exists (select from strata.assets a where a.observed and (asset is null or a.asset_id = asset)) then
    return query
      select s.account_address, s.asset_id, s.period, sum(greatest(s.balance - s.prior, 0)), sum(greatest(s.prior - s.balance, 0)), count(*)
        from strata.balance_steps(from_time, to_time, unit, asset, account) s join strata.assets a on a.asset_id = s.asset_id
       where s.period is not null and a.observed group by 1, 2, 3;
  end if;
end
$$;

comment on function strata.balance_movements(timestamptz, timestamptz, text, bigint, bytea) is
  'What came in and went out of every account (or one), by asset and hour, day, week or month (UTC) of a span: from the changes, or for observed balances from one balance row to the next. changes counts those.';
--! EndIncluded analytics/balance_movements.sql
--! Included analytics/top_holders.sql
create or replace function strata.top_holders(asset bigint, instant timestamptz default null, holders int default 10)
returns table (rank bigint, account_address bytea, amount numeric, balance numeric, share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(asset);
begin
  return query
    select rank() over (order by h.balance desc), h.account_address, h.balance * scale, h.balance, strata.ratio(h.balance, h.total)
      from (select h.*, sum(h.balance) over () as total from strata.holders_at(asset, instant) h) h
     order by h.balance desc, h.account_address
     limit holders;
end
$$;

comment on function strata.top_holders(bigint, timestamptz, int) is
  'The accounts that hold most of an asset as of an instant (or the newest balances), without the null and burn accounts. share is that of what all holders have; equal balances share a rank.';
--! EndIncluded analytics/top_holders.sql
--! Included analytics/concentration.sql
create or replace function strata.concentration(asset bigint, instant timestamptz default null, top int default 10)
returns table (holders bigint, amount numeric, gini numeric, top_share numeric, palma numeric, nakamoto bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    with held as (
      -- Poorest first; richest and the running sum from the other end, so that what ties break is the same in both.
      select h.balance, row_number() over poorest as place, count(*) over () as holders, sum(h.balance) over () as total,
             sum(h.balance) over (order by h.balance desc, h.account_address desc rows unbounded preceding) as held_by_richer
        from strata.holders_at(asset, instant) h
      window poorest as (order by h.balance, h.account_address)
    )
    select count(*), coalesce(max(total), 0) * strata.scale_of(asset),
           strata.ratio(sum((2 * place - holders - 1) * balance), max(holders) * max(total)),
           strata.ratio(sum(balance) filter (where place > holders - top), max(total)),
           strata.ratio(sum(balance) filter (where place > holders - (holders + 9) / 10), sum(balance) filter (where place <= holders * 4 / 10)),
           count(*) filter (where (held_by_richer - balance) * 2 <= total)
      from held;
end
$$;

comment on function strata.concentration(bigint, timestamptz, int) is
  'How unevenly an asset is held as of an instant, null and burn accounts left out. gini: 0 when all hold alike, towards 1 when one holds all. top_share: what the top holders have of all. palma: what the richest tenth (rounded up) has over what the poorest four tenths (rounded down) have, null where those are nobody. nakamoto: how few accounts hold more than half.';
--! EndIncluded analytics/concentration.sql
--! Included analytics/size_bands.sql
create or replace function strata.size_bands(
  asset bigint, instant timestamptz default null, edges numeric[] default '{1,10,100,1000,10000,100000,1000000}'
)
returns table (band int, from_amount numeric, to_amount numeric, holders bigint, amount numeric, share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  scale  numeric := strata.scale_of(asset);
  sorted numeric[] := array(select distinct e from unnest(edges) e where e > 0 order by e);
begin
  return query
    with held as (
      select width_bucket(h.balance * scale, sorted) as band, count(*) as holders, sum(h.balance) as balance
        from strata.holders_at(asset, instant) h group by 1
    )
    select b, case when b = 0 then 0 else sorted[b] end, sorted[b + 1], coalesce(h.holders, 0), coalesce(h.balance, 0) * scale,
           strata.ratio(coalesce(h.balance, 0), (select sum(t.balance) from held t))
      from generate_series(0, cardinality(sorted)) b
      left join held h on h.band = b
     order by b;
end
$$;

comment on function strata.size_bands(bigint, timestamptz, numeric[]) is
  'Holders of an asset by the size of what they hold, as of an instant: a band from each edge (in whole units, itself included) to the next, one below the first and one above the last. Null and burn accounts are left out.';
--! EndIncluded analytics/size_bands.sql
--! Included analytics/balance_series.sql
create or replace function strata.balance_series(
  account bytea, asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, amount numeric, balance numeric, change_count bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(strata.require_asset(asset));
  span  tstzrange := strata.span_of(unit, from_time, to_time, asset);
begin
  return query
    with last as (
      -- The opening counts as the last row of a period before all.
      select distinct on (s.period) s.period, s.balance, sum(s.change_count) over (partition by s.period) as changes
        from strata.balance_steps(lower(span), upper(span), unit, asset, account) s
       order by s.period, s."timestamp" desc
    ), filled as (
      select p.period, coalesce(l.changes, 0) as changes, l.balance, count(l.balance) over (order by p.period) as known
        from strata.periods(unit, from_time, to_time, asset) p
        left join last l on l.period = p.period
    )
    select f.period, held.balance * scale, held.balance, f.changes
      from (
        select f.*, coalesce(first_value(f.balance) over (partition by f.known order by f.period),
                             (select l.balance from last l where l.period is null), 0) as forward
          from filled f
      ) f
     cross join lateral (select f.forward as balance) held
     order by f.period;
end
$$;

comment on function strata.balance_series(bytea, bigint, timestamptz, timestamptz, text) is
  'Balance of an account in an asset at the end of every hour, day, week or month (UTC) that a span touches; a period without a change has the balance of the one before. change_count is the changes (of an observed balance the rows) within the period.';
--! EndIncluded analytics/balance_series.sql
--! Included analytics/holders_over_time.sql
create or replace function strata.holders_over_time(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, entered bigint, left_again bigint, holders bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
begin
  return query
    with crossed as (
      -- Only where a balance crosses zero; the holders at the beginning crossed it in a period before all.
      select s.period, count(*) filter (where s.balance > 0) as entered, count(*) filter (where s.balance <= 0) as gone
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
       where (s.balance > 0) <> (s.prior > 0)
         and not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
       group by s.period
    )
    select p.period, coalesce(c.entered, 0), coalesce(c.gone, 0),
           (coalesce((select o.entered from crossed o where o.period is null), 0)
             + sum(coalesce(c.entered, 0) - coalesce(c.gone, 0)) over (order by p.period))::bigint
      from strata.periods(unit, from_time, to_time, asset) p
      left join crossed c on c.period = p.period
     order by p.period;
end
$$;

comment on function strata.holders_over_time(bigint, timestamptz, timestamptz, text) is
  'Holders of an asset at the end of every hour, day, week or month (UTC) that a span touches, and how often an account became one or ceased to be one within it. From the crossings of zero: the cost follows the asset''s changes, not its holders times the periods. Null and burn accounts are left out.';
--! EndIncluded analytics/holders_over_time.sql
--! Included analytics/cohorts.sql
create or replace function strata.cohorts(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'month'
)
returns table (cohort timestamptz, age bigint, period timestamptz, accounts bigint, active bigint, holding bigint, active_share numeric, holding_share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
begin
  return query
    with steps as (
      select s.period, s.balance > 0 as holds, s.prior > 0 as held, s.account_address,
             min(s.period) over key as cohort, bool_or(s.period is null) over key as known_before
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
       where not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
      window key as (partition by s.account_address)
    ), counted as (
      select s.cohort, s.period, count(distinct s.account_address) as active,
             count(*) filter (where s.holds and not s.held) - count(*) filter (where s.held and not s.holds) as entered
        from steps s where not s.known_before group by s.cohort, s.period
    ), numbered as (
      select p.period, row_number() over (order by p.period) as place from strata.periods(unit, from_time, to_time, asset) p
    ), cells as (
      select c.period as cohort, p.place - c.place as age, p.period, first.active as accounts, coalesce(k.active, 0) as active,
             (sum(coalesce(k.entered, 0)) over (partition by c.period order by p.period))::bigint as holding
        from numbered c
        join counted first on first.cohort = c.period and first.period = c.period
        join numbered p on p.place >= c.place
        left join counted k on k.cohort = c.period and k.period = p.period
    )
    select c.cohort, c.age, c.period, c.accounts, c.active, c.holding, strata.ratio(c.active, c.accounts), strata.ratio(c.holding, c.accounts)
      from cells c
     order by c.cohort, c.period;
end
$$;

comment on function strata.cohorts(bigint, timestamptz, timestamptz, text) is
  'Retention: accounts by the period in which an asset first reached or left them, and of each cohort, so many periods (age) later, how many were active (had a change) and how many held some at its end. Accounts that were there before the span belong to no cohort; null and burn accounts are left out.';
--! EndIncluded analytics/cohorts.sql
--! Included analytics/active_accounts.sql
create or replace function strata.active_accounts(
  from_time timestamptz, to_time timestamptz default now(), unit text default 'day', asset bigint default null
)
returns table (period timestamptz, active bigint, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, asset);
begin
  return query
    with seen as (
      select b.period, count(distinct b.account_address) as active, sum(b.change_count)::bigint as changes
        from strata.balance_rows(lower(span), upper(span), unit, asset) b
       where not exists (select from strata.burn_accounts n where n.account_address = b.account_address)
       group by b.period
    )
    select p.period, coalesce(s.active, 0), coalesce(s.changes, 0)
      from strata.periods(unit, from_time, to_time, asset) p
      left join seen s on s.period = p.period
     order by p.period;
end
$$;

comment on function strata.active_accounts(timestamptz, timestamptz, text, bigint) is
  'Accounts with a change (for observed balances a row) in every hour, day, week or month (UTC) that a span touches, of one asset or of any, and the number of those changes. Null and burn accounts are left out.';
--! EndIncluded analytics/active_accounts.sql
--! Included analytics/asset_flows.sql
create or replace function strata.asset_flows(
  from_time timestamptz, to_time timestamptz default now(), unit text default 'day', asset bigint default null
)
returns table (period timestamptz, asset_id bigint, inflow numeric, outflow numeric, gross numeric, net numeric, accounts bigint, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    select m.period, m.asset_id, sum(m.inflow) * strata.scale_of(m.asset_id), sum(m.outflow) * strata.scale_of(m.asset_id),
           sum(m.inflow + m.outflow) * strata.scale_of(m.asset_id), sum(m.inflow - m.outflow) * strata.scale_of(m.asset_id),
           count(*), sum(m.changes)::bigint
      from strata.balance_movements(from_time, to_time, unit, asset) m
     where not exists (select from strata.burn_accounts n where n.account_address = m.account_address)
     group by m.period, m.asset_id
     order by m.period, m.asset_id;
end
$$;

comment on function strata.asset_flows(timestamptz, timestamptz, text, bigint) is
  'What came in and went out of all accounts but the null and burn ones, by asset and hour, day, week or month (UTC), in whole units: a transfer between two of them counts in both, so gross is twice what was transferred and net is what was minted less what was burned. Periods without a change have no row.';
--! EndIncluded analytics/asset_flows.sql
--! Included analytics/label_flows.sql
create or replace function strata.label_flows(
  labels text, label_column text, asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, label text, inflow numeric, outflow numeric, gross numeric, net numeric, accounts bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  known jsonb := (select l.columns from strata.labels l where l.label_name = labels);
begin
  if known is null then
    raise exception 'there are no labels %', coalesce(quote_literal(labels), 'null') using errcode = 'undefined_object',
      hint = coalesce('Take ' || (select string_agg(l.label_name, ' or ' order by l.label_name) from strata.labels l) || '.', 'Load some with `pgstrata labels add`.');
  end if;
  if not known @> jsonb_build_array(jsonb_build_object('name', label_column)) then
    raise exception 'labels % have no column %', labels, coalesce(quote_literal(label_column), 'null') using errcode = 'undefined_column',
      hint = coalesce('Take ' || (select string_agg(c ->> 'name', ' or ') from jsonb_array_elements(known) c) || '.', 'Load labels with more columns.');
  end if;
  return query execute format($flows$
    select m.period, l.%1$I::text, sum(m.inflow) * scale, sum(m.outflow) * scale, sum(m.inflow + m.outflow) * scale, sum(m.inflow - m.outflow) * scale, count(*)
      from strata.balance_movements(%2$L, %3$L, %4$L, %5$L) m
      left join strata.%6$I l on l.account_address = m.account_address
     cross join strata.scale_of(%5$L) scale
     where not exists (select from strata.burn_accounts n where n.account_address = m.account_address)
     group by m.period, l.%1$I::text, scale
     order by m.period, l.%1$I::text nulls last
  $flows$, label_column, from_time, to_time, unit, strata.require_asset(asset), 'labels_' || labels);
end
$$;

comment on function strata.label_flows(text, text, bigint, timestamptz, timestamptz, text) is
  'What came in and went out of the accounts of each label (a column of strata.labels_<labels>), by hour, day, week or month (UTC), in whole units of one asset. Accounts without a label have the label null; null and burn accounts are left out. Transfers within a label count in both its inflow and its outflow, net is free of them.';
--! EndIncluded analytics/label_flows.sql
--! Included analytics/supply.sql
create or replace function strata.supply(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, supply numeric, minted numeric, burned numeric, circulating numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span   tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
  scale  numeric := strata.scale_of(asset);
  -- Where every change has its counterpart the null account owes what exists: its balance alone tells of all others.
  closed boolean := (select a.zero_sum and not a.observed from strata.assets a where a.asset_id = asset);
  traced boolean := closed and lower(span) >= (select s.changes_from from strata.balance_status s);
begin
  return query
    with stepped as (
      select s.period, -coalesce(sum(s.balance - s.prior) filter (where n.mints), 0) as supply, -sum(s.balance - s.prior) as circulating
        from strata.burn_accounts n
       cross join lateral strata.balance_steps(lower(span), upper(span), unit, asset, n.account_address) s
       where closed group by s.period
      union all
      select s.period, coalesce(sum(s.balance - s.prior) filter (where n.mints is distinct from true), 0),
             coalesce(sum(s.balance - s.prior) filter (where n.mints is null), 0)
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
        left join strata.burn_accounts n on n.account_address = s.account_address
       where not closed group by s.period
    ), moved as (
      select m.period, sum(m.outflow) as minted, sum(m.inflow) as burned
        from strata.burn_accounts n
       cross join lateral strata.balance_movements(lower(span), upper(span), unit, asset, n.account_address) m
       where traced and n.mints group by m.period
    )
    select p.period, (coalesce(o.supply, 0) + sum(coalesce(s.supply, 0)) over (order by p.period)) * scale,
           case when traced then coalesce(m.minted, 0) * scale end, case when traced then coalesce(m.burned, 0) * scale end,
           (coalesce(o.circulating, 0) + sum(coalesce(s.circulating, 0)) over (order by p.period)) * scale
      from strata.periods(unit, from_time, to_time, asset) p
      left join stepped o on o.period is null
      left join stepped s on s.period = p.period
      left join moved m on m.period = p.period
     order by p.period;
end
$$;

comment on function strata.supply(bigint, timestamptz, timestamptz, text) is
  'Supply of an asset at the end of every hour, day, week or month (UTC) that a span touches, what was minted and burned within it, and what circulates: the supply without what burn accounts hold. Mint and burn are transfers with the null account (strata.burn_accounts.mints); they are null for observed balances, for assets whose changes have no counterpart, and where changes are no longer retained.';
--! EndIncluded analytics/supply.sql
--! Included analytics/time_weighted_balances.sql
create or replace function strata.time_weighted_balances(asset bigint, from_time timestamptz, to_time timestamptz default now(), account bytea default null)
returns table (account_address bytea, average numeric, opening numeric, closing numeric, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(strata.require_asset(asset));
begin
  perform from strata.periods('month', from_time, to_time);
  return query
    select s.account_address,
           strata.ratio(sum(s.balance * extract(epoch from s.until - s."timestamp")), extract(epoch from to_time - from_time)) * scale,
           coalesce(max(s.balance) filter (where s.period is null), 0) * scale,
           (array_agg(s.balance order by s."timestamp" desc, s.period nulls last))[1] * scale,
           coalesce(sum(s.change_count), 0)::bigint
      from strata.balance_steps(from_time, to_time, 'hour', asset, account) s
     where not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
     group by s.account_address
    having bool_or(s.balance <> 0)
     order by 2 desc, s.account_address;
end
$$;

comment on function strata.time_weighted_balances(bigint, timestamptz, timestamptz, bytea) is
  'Average balance of every account (or one) over a span, each balance weighted with the time it was held: the one brought into the span counts from its beginning, and a time without rows as the balance it had. A balance counts from the start of its period. In whole units; null and burn accounts, and those that never held any, are left out.';
--! EndIncluded analytics/time_weighted_balances.sql
--! Included analytics/balance_change.sql
create or replace function strata.balance_change(instant timestamptz default now(), asset bigint default null, account bytea default null)
returns table (account_address bytea, asset_id bigint, amount numeric, change_24h numeric, change_7d numeric, change_30d numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
  if (asset is null) = (account is null) and asset is null then
    raise exception 'neither an account nor an asset was given' using errcode = 'invalid_parameter_value',
      hint = 'Give an account for all its assets, an asset for all its accounts, or both.';
  end if;
  return query
    select k.account_address, k.asset_id, coalesce(sum(k.balance) filter (where k.hours = 0), 0) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 24 then -k.balance else 0 end) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 168 then -k.balance else 0 end) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 720 then -k.balance else 0 end) * strata.scale_of(k.asset_id)
      from (
        select b.account_address, b.asset_id, b.balance, h.hours
          from unnest(array[0, 24, 168, 720]) h (hours)
         cross join lateral strata.balances_at(instant - interval '1 hour' * h.hours, asset, account) b
      ) k
     where not exists (select from strata.burn_accounts n where n.account_address = k.account_address)
     group by k.account_address, k.asset_id
     order by 4 desc, k.account_address, k.asset_id;
end
$$;

comment on function strata.balance_change(timestamptz, bigint, bytea) is
  'Balances as of an instant, and how they changed over the 24 hours, 7 days and 30 days before it: of an account in all its assets, of all accounts in an asset, or of both given. In whole units; null and burn accounts, and those that had none at any of the four instants, are left out.';
--! EndIncluded analytics/balance_change.sql
--! Included analytics/portfolio_at.sql
create or replace function strata.portfolio_at(account bytea, instant timestamptz default now(), max_age interval default null)
returns table (asset_id bigint, asset text, amount numeric, price numeric, priced_at timestamptz, usd_value numeric, status text)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    select b.asset_id, coalesce(a.symbol, a.asset_key), b.balance * scale, p.usd, p.priced_at,
           case when p.is_fresh then b.balance * scale * p.usd end,
           case when p.usd is null then 'unpriced' when p.is_fresh then 'priced' else 'stale' end
      from strata.balances_at(instant, null, account) b
      join strata.assets a on a.asset_id = b.asset_id
     cross join strata.scale_of(b.asset_id) scale
      left join lateral (
        select r.usd, r.priced_at, max_age is null or r.priced_at >= instant - max_age as is_fresh
          from strata.prices r where r.asset_id = b.asset_id and r.priced_at <= instant
         order by r.priced_at desc limit 1
      ) p on true
     order by 6 desc nulls last, 2, b.asset_id;
end
$$;

comment on function strata.portfolio_at(bytea, timestamptz, interval) is
  'What an account holds as of an instant, at the last prices known then. status: priced; stale, where the last price is older than max_age; unpriced, where there is none. Only what is priced has a usd_value, so that a sum never takes unknown for nothing.';
--! EndIncluded analytics/portfolio_at.sql
--! Included analytics/multiplier_of.sql
create or replace function strata.multiplier_of(curve jsonb, usd numeric) returns numeric
language plpgsql immutable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  lower record;
  upper record;
begin
  if jsonb_typeof(curve) is distinct from 'array' or jsonb_array_length(curve) = 0
     or exists (select from jsonb_array_elements(curve) p
                 where jsonb_typeof(p -> 'usd') is distinct from 'number' or jsonb_typeof(p -> 'multiplier') is distinct from 'number') then
    raise exception 'the multiplier curve is no list of points' using errcode = 'invalid_parameter_value',
      hint = 'Write it as [{"usd": 0, "multiplier": 0.5}, {"usd": 1000, "multiplier": 1}].';
  end if;
  select (p ->> 'usd')::numeric as usd, (p ->> 'multiplier')::numeric as multiplier into lower
    from jsonb_array_elements(curve) p where (p ->> 'usd')::numeric <= multiplier_of.usd order by 1 desc limit 1;
  select (p ->> 'usd')::numeric as usd, (p ->> 'multiplier')::numeric as multiplier into upper
    from jsonb_array_elements(curve) p where (p ->> 'usd')::numeric > multiplier_of.usd order by 1 limit 1;
  return case
    when lower.usd is null then upper.multiplier
    when upper.usd is null then lower.multiplier
    else lower.multiplier + strata.ratio((upper.multiplier - lower.multiplier) * (multiplier_of.usd - lower.usd), upper.usd - lower.usd)
  end;
end
$$;

comment on function strata.multiplier_of(jsonb, numeric) is
  'The multiplier that a curve of points gives for a USD value: on the straight line between its two neighbours, level below the first and above the last.';
--! EndIncluded analytics/multiplier_of.sql
--! Included analytics/valued_steps.sql
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
--! EndIncluded analytics/valued_steps.sql
--! Included analytics/activity_points.sql
create or replace function strata.activity_points(
  from_time timestamptz, to_time timestamptz default now(), standard text default 'activity',
  curve jsonb default '[{"usd": 0, "multiplier": 1}]', bands numeric[] default '{}'
)
returns table (account_address bytea, asset_id bigint, activity text, usd_average numeric, valued_share numeric, multiplier numeric, points numeric, band int)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span    numeric := extract(epoch from to_time - from_time);
  edges   numeric[] := array(select distinct e from unnest(bands) e order by e);
begin
  perform from strata.periods('month', from_time, to_time);
  return query
    with averages as (
      select v.account_address, v.asset_id, strata.ratio(coalesce(sum(v.usd * v.seconds), 0), span) as usd,
             strata.ratio(coalesce(sum(v.seconds) filter (where v.usd is not null), 0), sum(v.seconds)) as valued
        from strata.valued_steps(from_time, to_time, standard) v
       where not exists (select from strata.burn_accounts n where n.account_address = v.account_address)
       group by v.account_address, v.asset_id having sum(v.seconds) > 0
    ), multiplied as (
      select a.*, strata.multiplier_of(curve, sum(a.usd) over (partition by a.account_address)) as multiplier from averages a
    )
    select m.account_address, m.asset_id, coalesce(n.symbol, n.asset_key), m.usd, m.valued, m.multiplier, m.usd * m.multiplier,
           width_bucket(sum(m.usd * m.multiplier) over (partition by m.account_address), edges)
      from multiplied m join strata.assets n on n.asset_id = m.asset_id
     order by sum(m.usd * m.multiplier) over (partition by m.account_address) desc, m.account_address, 7 desc, m.asset_id;
end
$$;

comment on function strata.activity_points(timestamptz, timestamptz, text, jsonb, numeric[]) is
  'Points of an incentive programme: the USD value an account had in each activity (assets of one standard), averaged over the span by the time it was held, times the multiplier that the curve gives for its average in all activities. curve: [{"usd": 0, "multiplier": 0.5}, {"usd": 1000, "multiplier": 1}] in ascending order, straight lines between its points, level outside. bands: lower edges of an account''s points in all; band 0 is below the first. valued_share is the share of the time for which a USD value was known.';
--! EndIncluded analytics/activity_points.sql
--! Included analytics/partitions_touched.sql
create or replace function strata.partitions_touched()
returns table (relation text, week timestamptz, kind text, touched int, partitions int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  -- Not by pg_partition_tree(): that takes the very locks we look for.
  with roots as (
    select p.oid as parent, p.relname::text as relation, w.partition, w.lower_bound
      from pg_class p
      join strata.partition_sets s on s.parent = p.oid
     cross join lateral strata.set_partitions(s.set_name) w
     where p.oid in ('strata.balance_changes'::regclass, 'strata.account_balances'::regclass, 'strata.snapshot_rows'::regclass)
    union all
    select p.oid, p.relname::text, p.oid, null
      from pg_class p where p.oid in ('strata.account_balances_current'::regclass, 'strata.account_balances_opening'::regclass)
  ), leaves as (
    select r.relation, r.lower_bound, coalesce(i.inhrelid, r.partition::oid) as leaf,
           case when i.inhrelid is null or c.relname like '%\_consolidated' then 'consolidated' else 'hashed' end as kind
      from roots r
      left join pg_inherits i on i.inhparent = r.partition
      left join pg_class c on c.oid = i.inhrelid
  )
  select l.relation, l.lower_bound, min(l.kind),
         count(*) filter (where exists (
           select from pg_locks k
            where k.pid = pg_backend_pid() and k.locktype = 'relation' and k.relation = l.leaf
              and k.database = (select d.oid from pg_database d where d.datname = current_database())))::int,
         count(*)::int
    from leaves l
   group by l.relation, l.lower_bound
   order by l.relation, l.lower_bound;
end;

comment on function strata.partitions_touched() is
  'What the running transaction has opened of balances, changes, snapshots (a row for each week), of state and of openings: how many of how many leaves. Read from the locks it holds, so it tells of every statement inside every function; what pruning left out was never locked.';
--! EndIncluded analytics/partitions_touched.sql
--! Included views/balances.sql
create or replace view strata.balances as
select strata.account_text(b.account_address) as account, a.network, coalesce(a.symbol, a.asset_key) as asset, a.token_id,
       b."timestamp", b.balance * ('1e-' || coalesce(a.decimals, 0)::text)::numeric as amount, b.balance, b.balance < 0 as negative,
       b.change_count, b.usd_value, b.data, b.account_address, b.asset_id
  from strata.account_balances b
  join strata.assets a using (asset_id)
 where b.account_address <> '\x0000000000000000000000000000000000000000';

comment on view strata.balances is
  'Balances as people read them: text account, symbol, amount scaled by the asset''s decimals, a flag for negative ones. One row per period with a change. Filter by account_address = strata.account(''0x…'') and "timestamp": both prune. The zero address is hidden.';
--! EndIncluded views/balances.sql
--! Included views/balances_current.sql
create or replace view strata.balances_current as
select strata.account_text(c.account_address) as account, a.network, coalesce(a.symbol, a.asset_key) as asset, a.token_id,
       c.balance * ('1e-' || coalesce(a.decimals, 0)::text)::numeric as amount, c.balance, c.balance < 0 as negative,
       c."timestamp" as changed_in, c.account_address, c.asset_id
  from strata.account_balances_current c
  join strata.assets a using (asset_id)
 where c.account_address <> '\x0000000000000000000000000000000000000000';

comment on view strata.balances_current is
  'The newest balance of every account and asset, as people read it; changed_in is the period of its last change. The zero address is hidden.';
--! EndIncluded views/balances_current.sql
--! Included functions/grant_roles.sql
create or replace function strata.grant_roles() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  r name;
begin
  foreach r in array array['strata_reader', 'strata_loader', 'strata_maintainer'] loop
    if not exists (select from pg_roles where rolname = r) then
      begin
        execute format('create role %I nologin', r);
      exception
        when insufficient_privilege then
          raise notice 'role % is missing and % may not create it', r, current_user;
        when duplicate_object or unique_violation then
          null;  -- another database of the cluster was migrated at the same moment
      end;
    end if;
  end loop;
  if (select count(*) from pg_roles where rolname in ('strata_reader', 'strata_loader', 'strata_maintainer')) < 3 then
    return;
  end if;
  revoke all on all routines in schema strata from public;
  grant usage on schema strata to strata_reader, strata_loader, strata_maintainer;
  grant select on all tables in schema strata to strata_reader, strata_loader, strata_maintainer;
  grant execute on all routines in schema strata to strata_loader, strata_maintainer;
  grant execute on function strata.account(text), strata.account_text(bytea), strata.asset_id(text, text, text, numeric),
    strata.week_start(timestamptz), strata.week_name(text, timestamptz), strata.partition_bounds(regclass), strata.set_partitions(text),
    strata.period_start(text, timestamptz), strata.balance_at(bytea, bigint, timestamptz), strata.sample_predicate(text, int),
    strata.recompute_floor(), strata.recompute_balances(bytea, bigint, timestamptz, int), strata.verify_rows(int),
    strata.verify_state(int), strata.verify_sums(), strata.verify_snapshots(int), strata.verify_ledger(),
    strata.week_key(timestamptz), strata.week_info(text), strata.partition_type(text), strata.require_set(text),
    strata.partition_info(text), strata.partition_distribution(text), strata.find_missing_weeks(text),
    strata.explain_query(text, timestamptz, timestamptz, text), strata.consolidation_refusal(text, regclass),
    strata.consolidation_status(text), strata.consolidation_report(text),
    strata.get_account_balance_partition_info(), strata.check_partition_distribution(), strata.find_missing_partitions(),
    strata.explain_account_balance_query(timestamptz, timestamptz, text), strata.get_partition_consolidation_status(),
    strata.weekly_consolidation_report(),
    strata.account_keys(bytea, bigint), strata.active_accounts(timestamptz, timestamptz, text, bigint),
    strata.activity_points(timestamptz, timestamptz, text, jsonb, numeric[]), strata.asset_flows(timestamptz, timestamptz, text, bigint),
    strata.balance_change(timestamptz, bigint, bytea), strata.balance_movements(timestamptz, timestamptz, text, bigint, bytea),
    strata.balance_rows(timestamptz, timestamptz, text, bigint),
    strata.balance_series(bytea, bigint, timestamptz, timestamptz, text), strata.balance_steps(timestamptz, timestamptz, text, bigint, bytea),
    strata.balances_at(timestamptz, bigint, bytea), strata.balances_before(timestamptz, bigint),
    strata.cohorts(bigint, timestamptz, timestamptz, text), strata.concentration(bigint, timestamptz, int),
    strata.holders_at(bigint, timestamptz), strata.holders_over_time(bigint, timestamptz, timestamptz, text),
    strata.label_flows(text, text, bigint, timestamptz, timestamptz, text), strata.last_balance(bytea, bigint, timestamptz),
    strata.multiplier_of(jsonb, numeric), strata.partitions_touched(), strata.period_expression(text, text),
    strata.periods(text, timestamptz, timestamptz, bigint), strata.portfolio_at(bytea, timestamptz, interval), strata.ratio(numeric, numeric, int),
    strata.require_asset(bigint), strata.require_retained(text, timestamptz), strata.scale_of(bigint),
    strata.size_bands(bigint, timestamptz, numeric[]), strata.span_of(text, timestamptz, timestamptz, bigint), strata.state_is_stale(),
    strata.supply(bigint, timestamptz, timestamptz, text), strata.time_weighted_balances(bigint, timestamptz, timestamptz, bytea),
    strata.top_holders(bigint, timestamptz, int), strata.valued_steps(timestamptz, timestamptz, text)
    to strata_reader;
  grant insert, update, delete on strata.streams, strata.sources, strata.stream_batches, strata.stream_health, strata.quarantine, strata.assets,
    strata.balance_changes, strata.account_balances, strata.account_balances_current, strata.snapshot_rows,
    strata.fold_progress, strata.balance_status, strata.account_balances_opening, strata.held_openings, strata.held_deltas,
    strata.prices, strata.burn_accounts
    to strata_loader;
  grant usage on all sequences in schema strata to strata_loader, strata_maintainer;
  grant usage, create on schema strata, strata_held to strata_maintainer;
  grant insert, update, delete on strata.partition_sets, strata.account_balances_opening, strata.maintenance_runs,
    strata.consolidations, strata.held_partitions, strata.retentions, strata.held_openings, strata.held_deltas, strata.labels,
    strata.label_views, strata.adoptions, strata.prices, strata.burn_accounts
    to strata_maintainer;
end
$$;

comment on function strata.grant_roles() is
  'Creates the group roles strata_reader, strata_loader and strata_maintainer where the caller may, and grants each the least it needs. Safe to run again.';
--! EndIncluded functions/grant_roles.sql
select strata.grant_roles();
