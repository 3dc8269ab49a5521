-- Holders: who they are, how many, how unevenly they hold. The null address and burn accounts are nobody.

-- The largest on a day, and what share of all each has.
select rank, strata.account_text(account_address) as account, amount, round(share, 6) as share
  from strata.top_holders(strata.asset_id('demo', 'erc20', 'usdx'), '2026-02-01', 5);
/*
rank  account                                            amount     share
────  ──────────────────────────────────────────  ─────────────  ────────
   1  0x117e23a47474c190e56ff6e80fc07c24579953b7  438223.380888  0.183040
   2  0xc8569e567f7adbe78a66ecfa2d92b22c0c62c493  427739.576924  0.178661
   3  0x4cd6797ccf07eb6122fde3fd6c3af49f4c4221d9  396798.172795  0.165738
   4  0x18e421e67764e2a9b9a816f510511f971ec0511d  362435.695285  0.151385
   5  0x2d72564428d14e2556f412d215f6063579fabc7d  265102.111014  0.110730
*/

-- How concentrated the asset was: Gini, the five largest, Palma, and how few hold more than half.
select holders, amount, round(gini, 6) as gini, round(top_share, 6) as top_share, round(palma, 6) as palma, nakamoto
  from strata.concentration(strata.asset_id('demo', 'erc20', 'usdx'), '2026-02-01', 5);
/*
holders          amount      gini  top_share     palma  nakamoto
───────  ──────────────  ────────  ─────────  ────────  ────────
     12  2394134.705978  0.432790   0.789554  4.366296         3
*/

-- The same at the end of each month.
select at, c.holders, round(c.gini, 6) as gini, c.nakamoto
  from generate_series(timestamptz '2026-02-01', '2026-03-28', interval '28 days') at,
       strata.concentration(strata.asset_id('demo', 'erc20', 'usdx'), at) c;
/*
at          holders      gini  nakamoto
──────────  ───────  ────────  ────────
2026-02-01       12  0.432790         3
2026-03-01       20  0.494441         4
*/

-- Holders by what they hold, in whole units.
select band, from_amount, to_amount, holders, amount, round(share, 6) as share
  from strata.size_bands(strata.asset_id('demo', 'erc20', 'usdx'), '2026-02-01', '{100,10000,50000}');
/*
band  from_amount  to_amount  holders          amount     share
────  ───────────  ─────────  ───────  ──────────────  ────────
   0            0        100        0        0.000000  0.000000
   1          100      10000        0        0.000000  0.000000
   2        10000      50000        2    74891.057071  0.031281
   3        50000          –       10  2319243.648907  0.968719
*/

-- How many there were at the end of each week, and how many came and went.
select * from strata.holders_over_time(strata.asset_id('demo', 'erc20', 'usdx'), '2026-01-04', '2026-02-15', 'week');
/*
period      entered  left_again  holders
──────────  ───────  ──────────  ───────
2026-01-04        6           0        6
2026-01-11        3           0        9
2026-01-18        2           0       11
2026-01-25        3           2       12
2026-02-01        3           0       15
2026-02-08        3           1       17
*/

-- Who stays: accounts by the month they came in, and what became of them.
select cohort, age, accounts, active, holding, round(holding_share, 4) as holding_share
  from strata.cohorts(strata.asset_id('demo', 'erc20', 'usdx'), '2026-01-01', '2026-04-01', 'month');
/*
cohort      age  accounts  active  holding  holding_share
──────────  ───  ────────  ──────  ───────  ─────────────
2026-01-01    0        13      13       12         0.9231
2026-01-01    1        13      13       12         0.9231
2026-01-01    2        13      13       12         0.9231
2026-02-01    0         8       8        8         1.0000
2026-02-01    1         8       8        8         1.0000
2026-03-01    0         8       8        8         1.0000
*/

-- Accounts with a change in each week, in any asset.
select * from strata.active_accounts('2026-01-04', '2026-02-15', 'week');
/*
period      active  changes
──────────  ──────  ───────
2026-01-04       7      453
2026-01-11       9      534
2026-01-18      11      528
2026-01-25      13      548
2026-02-01      15      561
2026-02-08      17      557
*/

-- An account of your chain that nobody holds is left out from now on.
insert into strata.burn_accounts (account_address, note)
select account_address, 'the treasury' from strata.top_holders(strata.asset_id('demo', 'erc20', 'usdx'), '2026-02-01', 1);
select rank, strata.account_text(account_address) as account, amount
  from strata.top_holders(strata.asset_id('demo', 'erc20', 'usdx'), '2026-02-01', 2);
/*
rank  account                                            amount
────  ──────────────────────────────────────────  ─────────────
   1  0xc8569e567f7adbe78a66ecfa2d92b22c0c62c493  427739.576924
   2  0x4cd6797ccf07eb6122fde3fd6c3af49f4c4221d9  396798.172795
*/
delete from strata.burn_accounts where note = 'the treasury';
