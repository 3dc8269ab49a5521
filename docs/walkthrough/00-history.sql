-- A made-up history to try the questions on: twelve weeks of two tokens and an activity among thirty accounts.
-- Run it in an empty, migrated database; every figure in the files behind this one comes from it.
set timezone = 'UTC';

insert into strata.assets (asset_id, network, standard, asset_key, symbol, decimals, grain, observed, zero_sum) values
  (strata.asset_id('demo', 'erc20', 'usdx'), 'demo', 'erc20', 'usdx', 'USDX', 6, 'hour', false, true),
  (strata.asset_id('demo', 'erc20', 'gold'), 'demo', 'erc20', 'gold', 'GOLD', 18, 'day', false, true),
  (strata.asset_id('demo', 'activity', 'lending'), 'demo', 'activity', 'lending', null, 0, 'hour', true, false);

-- Numbers that look random and are the same everywhere: 0 to 1 by a name.
create function pg_temp.draw(name text) returns numeric language sql immutable as $$
  select ('x' || substr(md5(name), 1, 7))::bit(28)::int / 268435456.0 $$;
create function pg_temp.account(place int) returns bytea language sql immutable as $$
  select case when place = 0 then '\x0000000000000000000000000000000000000000'
              else decode(substr(md5('account ' || place) || md5(place || ' account'), 1, 40), 'hex') end $$;

select count(*) as weeks from strata.ensure_weeks('balance_changes', '2026-01-04', '2026-03-28');
/*
weeks
─────
   12
*/
select count(*) as weeks from strata.ensure_weeks('snapshot_rows', '2026-01-04', '2026-03-28');
/*
weeks
─────
   12
*/

-- Mints first, then transfers from the few that are busy to anybody, some mints, some burns; newcomers every week.
with transfers as (
  select n, timestamptz '2026-01-04' + interval '1 second' * floor(7257600.0 * n / 4001) as at,
         case when n % 5 = 1 or n < 60 then 0 else 1 + floor((5 + n / 160) * power(pg_temp.draw('from ' || n), 2))::int end as sender,
         case when n % 97 = 0 then 0 else 1 + floor((5 + n / 160) * pg_temp.draw('to ' || n))::int end as receiver,
         case when n % 4 = 0 then 'gold' else 'usdx' end as token,
         floor(pg_temp.draw('units ' || n) * case when n < 60 then 90000000000 else 5000000000 end) * case when n % 4 = 0 then 1000000000 else 1 end as units
    from generate_series(1, 4000) n
)
insert into strata.balance_changes (account_address, asset_id, block_time, block_num, ordinal, source_id, delta)
select pg_temp.account(c.place), strata.asset_id('demo', 'erc20', t.token), t.at, t.n, c.ordinal, 1, c.sign * t.units
  from transfers t cross join lateral (values (t.receiver, 1, 0), (t.sender, -1, 1)) c (place, sign, ordinal)
 where t.sender <> t.receiver;

-- Balances follow from the changes, week by week.
select sum(strata.fold_week(week)) as balances
  from generate_series(timestamptz '2026-01-04', '2026-03-22', interval '168 hours') week;
/*
balances
────────
    6411
*/

-- What accounts had in an activity, as somebody observed it, with its value in USD.
begin;
select strata.open_snapshots();
insert into pg_temp.snapshot_stage
select pg_temp.account(1 + n % 12), strata.asset_id('demo', 'activity', 'lending'), timestamptz '2026-03-01' + interval '5 hours' * n, n, 0, 1,
       round(pg_temp.draw('lent ' || n) * 1000), round(pg_temp.draw('lent ' || n) * 100000, 2), null
  from generate_series(1, 120) n;
select strata.store_snapshots('hour') as snapshots;
/*
snapshots
─────────
      120
*/
select strata.fold_snapshots('hour', true) as balances;
/*
balances
────────
     120
*/
commit;

-- Prices, as `pgstrata prices add` loads them, and labels, as `pgstrata labels add` does.
insert into strata.prices (asset_id, priced_at, usd)
select strata.asset_id('demo', 'erc20', 'gold'), day, 60 + round(pg_temp.draw('gold ' || day::date) * 10, 2)
  from generate_series(timestamptz '2026-01-04', '2026-03-20', interval '24 hours') day;
create table strata.labels_kinds (account_address bytea primary key, kind text);
insert into strata.labels_kinds select pg_temp.account(n), case when n <= 2 then 'exchange' else 'fund' end from generate_series(1, 6) n;
insert into strata.labels (label_name, key_header, columns, row_count, source_file, sha256)
values ('kinds', 'address', '[{"name": "kind", "type": "text", "header": "kind"}]', 6, 'kinds.csv', '');

-- Old weeks become one table each; questions do not notice.
select week_key, status, row_count from strata.consolidate_week('account_balances', '2026_01_04');
/*
week_key    status        row_count
──────────  ────────────  ─────────
2026_01_04  CONSOLIDATED        429
*/
select week_key, status, row_count from strata.consolidate_week('account_balances', '2026_01_11');
/*
week_key    status        row_count
──────────  ────────────  ─────────
2026_01_11  CONSOLIDATED        487
*/
