-- Balances: now, as of a time, over time.

-- An asset is named by its id, which follows from what it is; an account by strata.account('0x…').
select asset_id, network, standard, asset_key, symbol, decimals, grain from strata.assets order by asset_key;
/*
            asset_id  network  standard  asset_key  symbol  decimals  grain
────────────────────  ───────  ────────  ─────────  ──────  ────────  ─────
-5955051611059952049  demo     erc20     gold       GOLD          18  day
 4332257234856066703  demo     activity  lending    –              0  hour
 4819506065990368595  demo     erc20     usdx       USDX           6  hour
*/

-- What an account holds now.
select asset, amount, changed_in from strata.balances_current
 where account_address = strata.account('0x18e421e67764e2a9b9a816f510511f971ec0511d') order by asset;
/*
asset                  amount  changed_in
───────  ────────────────────  ────────────────────
GOLD     9.915861926000000000  2026-03-27
USDX            231907.413552  2026-03-28T06:00:00Z
lending                   312  2026-03-23T17:00:00Z
*/

-- The same account, exact to an instant.
select asset_id, balance
  from strata.balances_at('2026-02-01 12:34:56+00', account => strata.account('0x18e421e67764e2a9b9a816f510511f971ec0511d'))
 order by balance;
/*
            asset_id               balance
────────────────────  ────────────────────
 4819506065990368595          363357386513
-5955051611059952049  10032322400000000000
*/

-- Its balance at the end of each week; a week without a change has that of the week before.
select period, amount, change_count
  from strata.balance_series(strata.account('0x18e421e67764e2a9b9a816f510511f971ec0511d'), strata.asset_id('demo', 'erc20', 'gold'),
                             '2026-01-04', '2026-02-15', 'week');
/*
period                     amount  change_count
──────────  ─────────────────────  ────────────
2026-01-04   1.187959441000000000             9
2026-01-11   2.315896427000000000            18
2026-01-18  13.442888217000000000            18
2026-01-25   5.655733342000000000            18
2026-02-01  -0.674563578000000000            17
2026-02-08   5.651447450000000000             9
*/

-- What it gained in a day, a week, a month.
select asset_id, amount, change_24h, change_7d, change_30d
  from strata.balance_change('2026-03-01', account => strata.account('0x18e421e67764e2a9b9a816f510511f971ec0511d'));
/*
            asset_id                 amount             change_24h             change_7d            change_30d
────────────────────  ─────────────────────  ─────────────────────  ────────────────────  ────────────────────
 4819506065990368595          337470.322093            5601.078159         -16559.661865         -36066.512768
-5955051611059952049  12.657376889000000000  -4.548605270000000000  5.017694886000000000  8.155406447000000000
*/

-- The average it held in February, each balance weighted with the time it was there.
select average, opening, closing, changes
  from strata.time_weighted_balances(strata.asset_id('demo', 'erc20', 'usdx'), '2026-02-01', '2026-03-01',
                                     strata.account('0x18e421e67764e2a9b9a816f510511f971ec0511d'));
/*
                        average        opening        closing  changes
───────────────────────────────  ─────────────  ─────────────  ───────
354271.817129438988095238095238  362435.695285  337470.322093      124
*/
