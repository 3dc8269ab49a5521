-- What a question reads: partitions opened, and partitions that were pruned.

-- The plan of reading one account through a week: one hash partition of all.
select query_plan from strata.explain_account_balance_query('2026-02-01', '2026-02-08', '0x18e421e67764e2a9b9a816f510511f971ec0511d')
 where query_plan like 'Partitions%';
/*
query_plan
────────────────────────
Partitions read: 1 of 42
*/

-- Of any question, functions and all: ask it in a transaction, then what the transaction has opened.
begin;
select count(*) as holders from strata.top_holders(strata.asset_id('demo', 'erc20', 'usdx'), '2026-02-01 12:00:00+00', 1000);
/*
holders
───────
     12
*/
select relation, count(*) filter (where touched > 0) as weeks_opened, sum(touched) as opened, sum(partitions) as partitions
  from strata.partitions_touched() group by relation order by relation;
/*
relation                  weeks_opened  opened  partitions
────────────────────────  ────────────  ──────  ──────────
account_balances                     5      14          42
account_balances_current             1       4           4
account_balances_opening             1       4           4
balance_changes                      1       4          48
snapshot_rows                        0       0          48
*/
commit;
