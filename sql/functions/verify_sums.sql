create or replace function strata.verify_sums()
returns table (asset_id bigint, total numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return query execute format($verify$
    select k.asset_id, sum(k.amount)
      from (
        select s.asset_id, sum(s.balance) as amount from strata.account_balances_current s group by s.asset_id
        union all
        -- One half of a transfer may be folded before the other: what waits belongs to the sum.
        select c.asset_id, sum(c.delta) from strata.balance_changes c where not (%s) group by c.asset_id
      ) k
      join strata.assets a on a.asset_id = k.asset_id and a.zero_sum
     group by k.asset_id
    having sum(k.amount) <> 0
  $verify$, strata.folded_predicate('c'));
end
$$;

comment on function strata.verify_sums() is
  'Assets whose balances, with the changes that wait to be folded, do not sum to zero over all accounts, the zero address included: a change is missing or doubled. Only assets whose every change has its counterpart.';
