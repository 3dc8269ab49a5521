create or replace function strata.fold_late_deltas(opened timestamptz, until timestamptz, undoable bigint) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  earliest timestamptz;
  earliest_delta timestamptz;
  latest   timestamptz;
begin
  select greatest(min(period), opened), greatest(max(period), opened), min(period) into earliest, latest, earliest_delta from pg_temp.late_deltas;

  -- What is earlier than the rows that retention has left goes into the opening balance; while those rows can be put
  -- back, it is also kept by period.
  if undoable is not null and earliest_delta < opened then
    insert into strata.held_openings (retention_id, account_address, asset_id, balance, "timestamp")
    select undoable, l.account_address, l.asset_id, o.balance, o."timestamp"
      from (select distinct account_address, asset_id from pg_temp.late_deltas where period < opened) l
      left join strata.account_balances_opening o on o.account_address = l.account_address and o.asset_id = l.asset_id
    on conflict do nothing;
    insert into strata.held_deltas as h (retention_id, account_address, asset_id, period, delta, change_count)
    select undoable, account_address, asset_id, period, delta, change_count from pg_temp.late_deltas where period < opened
    on conflict (retention_id, account_address, asset_id, period) do update
      set delta = h.delta + excluded.delta, change_count = h.change_count + excluded.change_count;
  end if;
  insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
  select account_address, asset_id, sum(delta), max(period)
    from pg_temp.late_deltas where period < opened group by account_address, asset_id
   order by account_address, asset_id
  on conflict (account_address, asset_id) do update
    set balance = o.balance + excluded.balance, "timestamp" = greatest(o."timestamp", excluded."timestamp");

  perform strata.find_late_priors(earliest, latest, opened);

  perform strata.fold_late_rows(earliest, until);

  -- Only now, so that rows from here on are not raised twice: periods without a row get one, seeded from the last row before.
  insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
  select l.account_address, l.asset_id, l.period,
         coalesce(l.prior + l.running, opening.balance + l.running - l.running_opened, l.running), l.change_count
    from pg_temp.late_periods l
    left join strata.account_balances_opening opening
      on opening.account_address = l.account_address and opening.asset_id = l.asset_id
   where not l.stored
   order by l.account_address, l.asset_id, l.period;

  if exists (select from pg_temp.late_deltas where change_count < 0) then
    perform strata.drop_emptied_periods(earliest, latest);
    perform strata.drop_emptied_openings(opened);
  end if;
  delete from pg_temp.late_periods;
  perform strata.fold_late_state(opened);
end
$$;

comment on function strata.fold_late_deltas(timestamptz, timestamptz, bigint) is
  'The part of fold_deltas() for keys whose history is touched: late changes and changes taken back. Cost follows the rows behind the earliest touched period of those keys. opened: where the retained balances begin. Rows from until on are left alone. undoable: the retention whose openings must be kept as they were.';
