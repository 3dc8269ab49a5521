create or replace function strata.rebuild_observed(
  account bytea default null, asset bigint default null, from_time timestamptz default null
) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  since   timestamptz;
  keyed   text := concat(' and r.account_address = ' || quote_literal(account), ' and r.asset_id = ' || asset);
  kind    record;
  rebuilt bigint := 0;
begin
  select date_bin(interval '1 day', greatest(from_time, s.observations_from, s.opened_before), timestamptz '1970-01-01 00:00:00+00')
    into since from strata.balance_status s;
  perform strata.open_snapshots();
  -- An asset that any of its streams stores whole is stored whole.
  for kind in
    select k.grain, k.only_changes, array_agg(k.asset_id) as assets
      from (
        select a.asset_id, a.grain, bool_and(coalesce((st.definition ->> 'only_changes')::boolean, false)) as only_changes
          from strata.assets a
          left join (select distinct r.asset_id, r.source_id from strata.snapshot_rows r) fed on fed.asset_id = a.asset_id
          left join strata.sources src on src.source_id = fed.source_id
          left join strata.streams st on st.stream = src.stream
         where a.observed and (asset is null or a.asset_id = asset)
         group by a.asset_id, a.grain
      ) k
     group by k.grain, k.only_changes
  loop
    execute format($touched$
      insert into pg_temp.snapshot_touched (account_address, asset_id, first, shrinks)
      select account_address, asset_id, %2$L, true
        from (
          select r.account_address, r.asset_id from strata.snapshot_rows r where r.observed_at >= %2$L and r.asset_id = any (%1$L)%3$s
          union
          select r.account_address, r.asset_id from strata.account_balances r where r."timestamp" >= %2$L and r.asset_id = any (%1$L)%3$s
        ) keys
    $touched$, kind.assets, since, keyed);
    rebuilt := rebuilt + strata.fold_snapshots(kind.grain, kind.only_changes);
  end loop;
  return rebuilt;
end
$$;

comment on function strata.rebuild_observed(bytea, bigint, timestamptz) is
  'The part of rebuild_balances() for observed balances: derives them again from snapshot_rows, from an instant or from where these are retained on. Returns the rows written.';
