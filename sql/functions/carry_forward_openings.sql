create or replace function strata.carry_forward_openings(cutoff timestamptz, retention_id bigint default null) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
declare
  keys bigint;
begin
  if strata.topology() <> 'shard' then
    perform strata.lock_fold();
  end if;
  if strata.topology() = 'citus' then
    keys := strata.in_shards('carry_forward_openings', cutoff::text, retention_id::text);
    update strata.balance_status set opened_before = greatest(opened_before, cutoff);
    return keys;
  end if;
  execute format($carry$
    with carried as materialized (
      -- The primary keys of the weeks, read backwards and merged, have the newest row of each key first: nothing is sorted.
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from strata.account_balances where "timestamp" < %1$L and "timestamp" >= %2$L
       order by account_address desc, asset_id desc, "timestamp" desc
    ), held as (
      insert into strata.held_openings (retention_id, account_address, asset_id, balance, "timestamp")
      select %3$L, c.account_address, c.asset_id, o.balance, o."timestamp"
        from carried c
        left join strata.account_balances_opening o on o.account_address = c.account_address and o.asset_id = c.asset_id
       where %3$L is not null
       order by c.account_address, c.asset_id
    )
    insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
    select account_address, asset_id, balance, "timestamp" from carried
     order by account_address, asset_id
    on conflict (account_address, asset_id) do update
      set balance = excluded.balance, "timestamp" = excluded."timestamp"
      where o."timestamp" <= excluded."timestamp"
  $carry$, cutoff, (select s.opened_before from strata.balance_status s), retention_id);
  get diagnostics keys = row_count;
  if strata.topology() = 'single' then
    update strata.balance_status set opened_before = greatest(opened_before, cutoff);
  end if;
  return keys;
end
$$;

comment on function strata.carry_forward_openings(timestamptz, bigint) is
  'Writes the balance of every key at the cutoff into account_balances_opening; returns the keys written. Retention calls it before it takes the weeks out, and has the rows it writes over kept for its undo. Rows before the cutoff are out of the reckoning from its commit on, attached or not.';
