create or replace function strata.week_fold_statement(changes text, state text) returns text
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  step text;
begin
  -- One grain for all assets, the usual case, need not be looked up change by change.
  select case when count(distinct a.grain) = 1 then format('interval %L', '1 ' || min(a.grain))
              else '(select case a.grain when ''hour'' then interval ''1 hour'' else interval ''1 day'' end from strata.assets a where a.asset_id = c.asset_id)' end
    into step from strata.assets a where not a.observed;

  -- One sort and one window: the last change of a period has its balance, and its place among its peers is their number.
  return format($fold$
    select p.account_address, p.asset_id, p.period, coalesce(s.balance, 0) + p.so_far, p.change_count
      from (
        select c.account_address, c.asset_id, c.period, sum(c.delta) over so_far as so_far,
               (row_number() over so_far - rank() over so_far)::int + 1 as change_count, lead(c.period) over so_far as next_period
          from (select c.account_address, c.asset_id, date_bin(%3$s, c.block_time, timestamptz '1970-01-01 00:00:00+00') as period, c.delta
                  from %1$s) c
        window so_far as (partition by c.account_address, c.asset_id order by c.period rows unbounded preceding)
      ) p
      left join %2$s s on s.account_address = p.account_address and s.asset_id = p.asset_id
     where p.next_period is distinct from p.period
     order by p.account_address, p.asset_id, p.period
  $fold$, changes, state, step);
end
$$;

comment on function strata.week_fold_statement(text, text) is
  'The query that folds the changes of a whole week, seeded by the state: account, asset, period, balance and number of changes, in the order of the key. changes: what stands behind FROM, named c; state: the table of openings, one partition of it or all.';
