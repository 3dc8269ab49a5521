-- Value: portfolios at the prices known then, and points for holding.

-- What an account had was worth so much. USDX has no price: it is told apart, and not taken for nothing.
select asset, amount, price, priced_at, usd_value, status
  from strata.portfolio_at(strata.account('0x18e421e67764e2a9b9a816f510511f971ec0511d'), '2026-03-15 12:00:00+00');
/*
asset                  amount  price  priced_at                  usd_value  status
───────  ────────────────────  ─────  ──────────  ────────────────────────  ────────
GOLD     2.401346668000000000  61.87  2026-03-15  148.57131834916000000000  priced
USDX            270521.513223      –  –                                  –  unpriced
lending                   405      –  –                                  –  unpriced
*/

-- A week after the last price of GOLD a bound on its age says so.
select asset, status, usd_value
  from strata.portfolio_at(strata.account('0x18e421e67764e2a9b9a816f510511f971ec0511d'), '2026-03-27', '2 days');
/*
asset    status    usd_value
───────  ────────  ─────────
GOLD     stale             –
USDX     unpriced          –
lending  unpriced          –
*/

-- Points of an incentive programme for a week: USD averaged over time, a multiplier that rises from 0.5 to 3 with it, bands of points.
select strata.account_text(account_address) as account, activity, round(usd_average, 2) as usd_average, round(valued_share, 4) as valued_share,
       round(multiplier, 4) as multiplier, round(points, 2) as points, band
  from strata.activity_points('2026-03-08', '2026-03-15', 'activity',
         '[{"usd": 0, "multiplier": 0.5}, {"usd": 20000, "multiplier": 1}, {"usd": 80000, "multiplier": 3}]', '{10000, 50000}')
 limit 6;
/*
account                                     activity  usd_average  valued_share  multiplier     points  band
──────────────────────────────────────────  ────────  ───────────  ────────────  ──────────  ─────────  ────
0x1efd853ff24dd22e908e615599a44d1d1ffd9b04  lending      83797.53        1.0000      3.0000  251392.59     2
0x117e23a47474c190e56ff6e80fc07c24579953b7  lending      58269.56        1.0000      2.2757  132601.24     2
0xc8569e567f7adbe78a66ecfa2d92b22c0c62c493  lending      51467.51        1.0000      2.0489  105452.66     2
0xd91578fdb2569b90b60b1735e845b1fe64ab1edf  lending      48642.07        1.0000      1.9547   95082.39     2
0x18e421e67764e2a9b9a816f510511f971ec0511d  lending      47262.08        1.0000      1.9087   90210.85     2
0x62dc84613aa74c29c944cf99a72edabc8dac42dd  lending      41565.29        1.0000      1.7188   71444.20     2
*/
