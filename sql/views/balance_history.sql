create or replace view strata.balance_history as
select account_address, asset_id, "timestamp", balance, change_count, false as opening
  from strata.account_balances where "timestamp" >= (select s.opened_before from strata.balance_status s)
union all
select account_address, asset_id, "timestamp", balance, 0, true from strata.account_balances_opening;

comment on view strata.balance_history is
  'Every retained balance of a key in time, begun with the opening row that retention carried forward (opening = true).';
