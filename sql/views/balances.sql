create or replace view strata.balances as
select strata.account_text(b.account_address) as account, a.network, coalesce(a.symbol, a.asset_key) as asset, a.token_id,
       b."timestamp", b.balance * ('1e-' || coalesce(a.decimals, 0)::text)::numeric as amount, b.balance, b.balance < 0 as negative,
       b.change_count, b.usd_value, b.data, b.account_address, b.asset_id
  from strata.account_balances b
  join strata.assets a using (asset_id)
 where b.account_address <> '\x0000000000000000000000000000000000000000';

comment on view strata.balances is
  'Balances as people read them: text account, symbol, amount scaled by the asset''s decimals, a flag for negative ones. One row per period with a change. Filter by account_address = strata.account(''0x…'') and "timestamp": both prune. The zero address is hidden.';
