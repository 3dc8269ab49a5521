create or replace view strata.balances_current as
select strata.account_text(c.account_address) as account, a.network, coalesce(a.symbol, a.asset_key) as asset, a.token_id,
       c.balance * ('1e-' || coalesce(a.decimals, 0)::text)::numeric as amount, c.balance, c.balance < 0 as negative,
       c."timestamp" as changed_in, c.account_address, c.asset_id
  from strata.account_balances_current c
  join strata.assets a using (asset_id)
 where c.account_address <> '\x0000000000000000000000000000000000000000';

comment on view strata.balances_current is
  'The newest balance of every account and asset, as people read it; changed_in is the period of its last change. The zero address is hidden.';
