create or replace function strata.recompute_balances(account bytea, asset bigint, since timestamptz, one_in int default 1, folded text default null)
returns table (account_address bytea, asset_id bigint, "timestamp" timestamptz, balance numeric, change_count int)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
declare
  -- strata.period_start() is written out: called per row it would cost more than all the rest.
  keyed text := concat(' and %1$s.account_address = ' || quote_literal(account), ' and %1$s.asset_id = ' || asset, ' and %2$s');
begin
  if folded is null then
    folded := strata.folded_predicate('c');
  end if;
  return query execute format($recompute$
    with base as (
      select distinct on (k.account_address, k.asset_id) k.account_address, k.asset_id, k.balance
        from (
          select b.account_address, b.asset_id, b.balance, b."timestamp", true as retained
            from strata.account_balances b
           where b."timestamp" < %1$L and b."timestamp" >= %5$L%2$s
          union all
          select o.account_address, o.asset_id, o.balance, o."timestamp", false
            from strata.account_balances_opening o where o."timestamp" < %1$L%3$s
        ) k
       order by k.account_address, k.asset_id, k.retained desc, k."timestamp" desc
    ), by_period as (
      select c.account_address, c.asset_id, 
             date_bin(case a.grain when 'hour' then interval '1 hour' else interval '1 day' end, c.block_time,
                      timestamptz '1970-01-01 00:00:00+00') as period,
             sum(c.delta) as delta, count(*)::int as changes
        from strata.balance_changes c join strata.assets a on a.asset_id = c.asset_id
       where c.block_time >= %1$L%4$s and %6$s
       group by 1, 2, 3
    )
    select p.account_address, p.asset_id, p.period,
           coalesce(base.balance, 0) + sum(p.delta) over (partition by p.account_address, p.asset_id order by p.period),
           p.changes
      from by_period p left join base on base.account_address = p.account_address and base.asset_id = p.asset_id
  $recompute$, since, 
    format(keyed, 'b', strata.sample_predicate('b', one_in)),
    format(keyed, 'o', strata.sample_predicate('o', one_in)),
    format(keyed, 'c', strata.sample_predicate('c', one_in)),
    (select s.opened_before from strata.balance_status s), folded);
end
$$;

comment on function strata.recompute_balances(bytea, bigint, timestamptz, int, text) is
  'What account_balances ought to hold from an instant on (a period''s start): summed from the folded changes, on top of the last balance before. For all keys, or those of an account, an asset, both, or one in so many accounts. The reference of verify and rebuild. folded: what folded_predicate(''c'') says, for a shard, which has no ledger to ask.';
