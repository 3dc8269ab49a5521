create or replace function strata.fold_staged(opened timestamptz, undoable bigint) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
-- The state is looked up by key, never read whole, whatever the planner believes of staging tables without statistics.
set enable_seqscan = off
-- Estimates of staging rows are guesses; a hash join of them is right for two rows and for two hundred thousand.
set enable_nestloop = off
as $$
declare
  folded bigint;
  unfit  bigint;
begin
  -- Appends, the usual case: the state row takes the sum and hands back the balance from which the periods' rows follow.
  -- History is only written, never read, so the cost does not depend on how much of it there is.
  with staged as materialized (
    select account_address, asset_id, period, sum(delta) as delta, sum(change_count)::int as change_count,
           sum(sum(delta)) over so_far as sum_so_far, sum(sum(delta)) over key as total,
           min(period) over key as first, max(period) over key as last, min(sum(change_count)) over key > 0 as grows
      from pg_temp.balance_deltas group by account_address, asset_id, period
    window key as (partition by account_address, asset_id),
           so_far as (partition by account_address, asset_id order by period)
  ), before as materialized (
    -- A key with one period needs no look-up: its state comes back later than that period only if it was so before.
    select k.account_address, k.asset_id, k.total, k.first, k.last, case when k.first < k.last then (
             select c."timestamp" from strata.account_balances_current c
              where c.account_address = k.account_address and c.asset_id = k.asset_id) end as newest
      from staged k
     where k.grows and k.period = k.last
  ), state as (
    insert into strata.account_balances_current as c (account_address, asset_id, balance, "timestamp")
    select account_address, asset_id, total, last from before order by account_address, asset_id
    on conflict (account_address, asset_id) do update
      set balance = c.balance + excluded.balance, "timestamp" = greatest(c."timestamp", excluded."timestamp")
    returning c.account_address, c.asset_id, c.balance, c."timestamp"
  ), appended as materialized (
    select k.account_address, k.asset_id, s.balance - k.total as seed,
           s."timestamp" = k.last and (k.newest is null or k.newest <= k.first) and k.first >= opened as at_head
      from state s join before k using (account_address, asset_id)
  ), written as (
    insert into strata.account_balances as b (account_address, asset_id, "timestamp", balance, change_count)
    select p.account_address, p.asset_id, p.period, a.seed + p.sum_so_far, p.change_count
      from staged p join appended a using (account_address, asset_id)
     where a.at_head
     order by p.account_address, p.asset_id, p.period
    on conflict (account_address, asset_id, "timestamp") do update
      set balance = excluded.balance, change_count = b.change_count + excluded.change_count
    returning 1
  ), left_over as (
    insert into pg_temp.late_deltas (account_address, asset_id, period, delta, change_count, state_done)
    select p.account_address, p.asset_id, p.period, p.delta, p.change_count, a.at_head is not null
      from staged p left join appended a using (account_address, asset_id)
     where a.at_head is not true and (p.delta <> 0 or p.change_count <> 0)
    returning 1
  )
  select (select count(*) from written), (select count(*) from left_over) into folded, unfit;

  if unfit > 0 then
    perform strata.fold_late_deltas(opened, 'infinity', undoable);
  end if;
  return folded + unfit;
end
$$;

comment on function strata.fold_staged(timestamptz, bigint) is
  'The part of fold_deltas() that brings the staged deltas into balances and state: of the whole warehouse, or of a shard. opened: where the retained balances begin; undoable: the retention whose openings must be kept as they were.';
