create or replace function strata.put_back_openings(retention_id bigint, cutoff timestamptz, opened timestamptz, undoable bigint) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
as $$
#variable_conflict use_column
declare
  put_back bigint;
begin
  if strata.topology() = 'citus' then
    return strata.in_shards('put_back_openings', retention_id::text, cutoff::text, opened::text, undoable::text);
  elsif strata.topology() = 'single' then
    perform strata.open_deltas();
  end if;
  delete from strata.account_balances_opening o using strata.held_openings h
   where h.retention_id = put_back_openings.retention_id
     and o.account_address = h.account_address and o.asset_id = h.asset_id;
  insert into strata.account_balances_opening (account_address, asset_id, balance, "timestamp")
  select h.account_address, h.asset_id, h.balance, h."timestamp"
    from strata.held_openings h
   where h.retention_id = put_back_openings.retention_id and h.balance is not null;
  get diagnostics put_back = row_count;

  -- What came late meanwhile went into openings that are gone now: it is folded into the rows that are back, and only
  -- into those; later ones and the state have it already.
  insert into pg_temp.late_deltas (account_address, asset_id, period, delta, change_count, state_done)
  select d.account_address, d.asset_id, d.period, d.delta, d.change_count, true
    from strata.held_deltas d
   where d.retention_id = put_back_openings.retention_id and (d.delta <> 0 or d.change_count <> 0);
  if found then
    perform strata.fold_late_deltas(put_back_openings.opened, cutoff, undoable);
    delete from pg_temp.late_deltas;
  end if;

  -- The newest row of such a key may be another one than its opening knew of.
  with newest as materialized (
    select k.account_address, k.asset_id, coalesce(r."timestamp", o."timestamp") as "timestamp"
      from (select distinct d.account_address, d.asset_id from strata.held_deltas d
             where d.retention_id = put_back_openings.retention_id) k
      left join lateral (
        select b."timestamp" from strata.account_balances b
         where b.account_address = k.account_address and b.asset_id = k.asset_id
           and b."timestamp" >= put_back_openings.opened
         order by b."timestamp" desc limit 1
      ) r on true
      left join strata.account_balances_opening o on o.account_address = k.account_address and o.asset_id = k.asset_id
  ), gone as (
    delete from strata.account_balances_current c using newest n
     where c.account_address = n.account_address and c.asset_id = n.asset_id and n."timestamp" is null
  )
  update strata.account_balances_current c set "timestamp" = n."timestamp"
    from newest n
   where c.account_address = n.account_address and c.asset_id = n.asset_id and c."timestamp" <> n."timestamp";

  delete from strata.held_openings h where h.retention_id = put_back_openings.retention_id;
  delete from strata.held_deltas d where d.retention_id = put_back_openings.retention_id;
  return put_back;
end
$$;

comment on function strata.put_back_openings(bigint, timestamptz, timestamptz, bigint) is
  'The part of undo_retention() for balances: opening rows are again what they were before the retention, and what late changes added to them since goes to the rows of its weeks, which are attached again. undoable: the retention before it, if that can still be undone. Returns the opening rows.';
