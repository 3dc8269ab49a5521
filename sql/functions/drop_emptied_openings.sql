create or replace function strata.drop_emptied_openings(opened timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set enable_nestloop = on
as $$
declare
  emptied record;
  empty   boolean;
begin
  -- An opening row may stand for changes that were dropped: then it stays, as 0.
  if (select s.changes_from from strata.balance_status s) > '-infinity' then
    return;
  end if;
  for emptied in
    select o.account_address, o.asset_id
      from (select account_address, asset_id from pg_temp.late_deltas
             where period < opened group by 1, 2 having min(change_count) < 0) l
      join strata.account_balances_opening o
        on o.account_address = l.account_address and o.asset_id = l.asset_id and o.balance = 0
  loop
    -- Literals, so that one hash partition of each week is planned for.
    execute format('select not exists (select from strata.balance_changes where account_address = %L and asset_id = %s and block_time < %L)',
      emptied.account_address, emptied.asset_id, opened) into empty;
    if empty then
      delete from strata.account_balances_opening o
       where o.account_address = emptied.account_address and o.asset_id = emptied.asset_id;
    end if;
  end loop;
end
$$;

comment on function strata.drop_emptied_openings(timestamptz) is
  'The part of fold_late_deltas() for changes taken back from behind the retained rows: opening rows that lost their last change go.';
