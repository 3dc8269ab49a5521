-- Supply and flows: what was made, destroyed and moved.

-- Supply at the end of each month, and what changed it. Mint and burn are transfers with the zero address.
select * from strata.supply(strata.asset_id('demo', 'erc20', 'usdx'), '2026-01-01', '2026-04-01', 'month');
/*
period              supply          minted        burned     circulating
──────────  ──────────────  ──────────────  ────────────  ──────────────
2026-01-01  2389134.125560  2400738.181449  11604.055889  2389134.125560
2026-02-01  2863292.556453   493868.401578  19709.970685  2863292.556453
2026-03-01  3337538.996497   503830.333924  29583.893880  3337538.996497
*/

-- What moved in each week: inflow and outflow of all accounts together; net is what was minted less what was burned.
select period, inflow, outflow, gross, net, accounts, changes
  from strata.asset_flows('2026-01-04', '2026-02-01', 'week', strata.asset_id('demo', 'erc20', 'usdx'));
/*
period              inflow        outflow           gross             net  accounts  changes
──────────  ──────────────  ─────────────  ──────────────  ──────────────  ────────  ───────
2026-01-04  2320077.338917  300133.692990  2620211.031907  2019943.645927         7      338
2026-01-11   575954.869183  447950.978656  1023905.847839   128003.890527         9      398
2026-01-18   505787.506981  380655.437883   886442.944864   125132.069098        11      386
2026-01-25   555985.227855  439930.707847   995915.935702   116054.520008        13      405
*/

-- The same by the label of an account.
select * from strata.label_flows('kinds', 'kind', strata.asset_id('demo', 'erc20', 'gold'), '2026-01-01', '2026-03-01', 'month');
/*
period      label                     inflow                 outflow                   gross                     net  accounts
──────────  ────────  ──────────────────────  ──────────────────────  ──────────────────────  ──────────────────────  ────────
2026-01-01  exchange  194.254335764000000000  223.854461846000000000  418.108797610000000000  -29.600126082000000000         2
2026-01-01  fund      716.688435790000000000  212.208932702000000000  928.897368492000000000  504.479503088000000000         4
2026-01-01  –         211.150464798000000000  109.628764967000000000  320.779229765000000000  101.521699831000000000         7
2026-02-01  exchange  113.548529194000000000  204.586206819000000000  318.134736013000000000  -91.037677625000000000         2
2026-02-01  fund      170.330310769000000000  148.856612092000000000  319.186922861000000000   21.473698677000000000         4
2026-02-01  –         495.534535338000000000  259.757131884000000000  755.291667222000000000  235.777403454000000000        15
*/

-- The cheapest check of a whole warehouse: with the zero address among them, all balances of an asset sum to zero.
select a.asset_key, sum(c.balance) as sum
  from strata.account_balances_current c join strata.assets a using (asset_id) where a.zero_sum group by 1 order by 1;
/*
asset_key  sum
─────────  ───
gold         0
usdx         0
*/
