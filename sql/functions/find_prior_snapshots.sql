create or replace function strata.find_prior_snapshots(earliest timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  latest timestamptz;
begin
  -- A key that is observed regularly has its last snapshot nearby: the literal bounds leave two or three weeks to look into.
  execute format($near$
    update pg_temp.snapshot_keys k set known = true, balance = n.balance, usd_value = n.usd_value, data = n.data
      from pg_temp.snapshot_keys t
     cross join lateral (
       select r.balance, r.usd_value, r.data from strata.snapshot_rows r
        where r.account_address = t.account_address and r.asset_id = t.asset_id and r.observed_at < t.first
          and r.observed_at >= %1$L and r.observed_at < %2$L
        order by r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc limit 1
     ) n
     where k.ctid = t.ctid
  $near$, strata.week_start(earliest) - interval '7 days', (select max(k.first) from pg_temp.snapshot_keys k));

  -- Others have it in their balances, however far back: what was not stored since was the same.
  select max(k.first) into latest from pg_temp.snapshot_keys k where not k.known and k.state_time is not null;
  if latest is not null then
    execute format($far$
      update pg_temp.snapshot_keys k set known = true, balance = n.balance, usd_value = n.usd_value, data = n.data
        from pg_temp.snapshot_keys t
       cross join lateral (
         select b.balance, b.usd_value, b.data from strata.account_balances b
          where b.account_address = t.account_address and b.asset_id = t.asset_id and b."timestamp" < t.first
            and b."timestamp" <= t.state_time and b."timestamp" < %1$L
          order by b."timestamp" desc limit 1
       ) n
       where k.ctid = t.ctid and not t.known and t.state_time is not null
    $far$, latest);
  end if;
end
$$;

comment on function strata.find_prior_snapshots(timestamptz) is
  'The part of fold_snapshots() that finds, for each key, the observation before its first touched period, to tell changes from repetitions.';
