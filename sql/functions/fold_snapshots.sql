create or replace function strata.fold_snapshots(grain text, only_changes boolean) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
-- The touched keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  step     interval := case fold_snapshots.grain when 'hour' then interval '1 hour' else interval '1 day' end;
  earliest timestamptz;
  lost     boolean;
  folded   bigint;
begin
  select min(t.first), bool_or(t.shrinks) into earliest, lost from pg_temp.snapshot_touched t;
  if earliest is null then
    return 0;
  end if;
  if strata.topology() = 'shard' then
    if strata.state_is_lost() then
      perform strata.rebuild_state();
    end if;
  else
    perform strata.lock_fold();
    perform strata.heal_state();
    if strata.topology() = 'citus' then
      insert into strata.snapshot_touched select * from pg_temp.snapshot_touched;
      delete from pg_temp.snapshot_touched;
      return strata.in_shards('fold_snapshots', grain, only_changes::text);
    end if;
  end if;

  insert into pg_temp.snapshot_keys (account_address, asset_id, first, shrinks, state_time)
  select t.account_address, t.asset_id, t.first, t.shrinks, s."timestamp"
    from (
      select account_address, asset_id, min(first) as first, bool_or(shrinks) as shrinks
        from pg_temp.snapshot_touched group by account_address, asset_id
    ) t
    left join strata.account_balances_current s on s.account_address = t.account_address and s.asset_id = t.asset_id;
  delete from pg_temp.snapshot_touched;
  if only_changes then
    perform strata.find_prior_snapshots(earliest);
  end if;

  -- The latest observation of each period from the first touched one on, and whether it differs from the one before.
  -- The literal bound lets the planner leave out the weeks before.
  execute format($periods$
    insert into pg_temp.snapshot_periods (account_address, asset_id, period, balance, usd_value, data, stored)
    select k.account_address, k.asset_id, w.period, w.balance, w.usd_value, w.data, w.stored
      from pg_temp.snapshot_keys k
     cross join lateral (
       select l.period, l.balance, l.usd_value, l.data,
              not %2$L or not lag(true, 1, k.known) over by_time
                or (l.balance, l.usd_value, l.data) is distinct from
                   (lag(l.balance, 1, k.balance) over by_time, lag(l.usd_value, 1, k.usd_value) over by_time, lag(l.data, 1, k.data) over by_time) as stored
         from (
           select distinct on (date_bin(%3$L, r.observed_at, '1970-01-01 00:00:00+00'))
                  date_bin(%3$L, r.observed_at, '1970-01-01 00:00:00+00') as period, r.balance, r.usd_value, r.data
             from strata.snapshot_rows r
            where r.account_address = k.account_address and r.asset_id = k.asset_id
              and r.observed_at >= k.first and r.observed_at >= %1$L
            order by 1, r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc
         ) l
       window by_time as (order by l.period)
     ) w
  $periods$, earliest, only_changes, step);

  if lost or only_changes then
    execute format($gone$
      delete from strata.account_balances b using pg_temp.snapshot_keys k
       where b.account_address = k.account_address and b.asset_id = k.asset_id
         and b."timestamp" >= k.first and b."timestamp" >= %1$L
         and not exists (
           select from pg_temp.snapshot_periods p
            where p.account_address = b.account_address and p.asset_id = b.asset_id and p.period = b."timestamp" and p.stored)
    $gone$, earliest);
  end if;
  insert into strata.account_balances as b (account_address, asset_id, "timestamp", balance, change_count, usd_value, data)
  select account_address, asset_id, period, balance, 0, usd_value, data
    from pg_temp.snapshot_periods where stored order by account_address, asset_id, period
  on conflict (account_address, asset_id, "timestamp") do update
    set balance = excluded.balance, usd_value = excluded.usd_value, data = excluded.data
    where (b.balance, b.usd_value, b.data) is distinct from (excluded.balance, excluded.usd_value, excluded.data);
  get diagnostics folded = row_count;

  perform strata.fold_snapshot_state();
  delete from pg_temp.snapshot_keys;
  delete from pg_temp.snapshot_periods;
  if strata.topology() = 'shard' and pg_relation_size('pg_temp.snapshot_periods') > 4000000 then
    truncate pg_temp.snapshot_touched, pg_temp.snapshot_keys, pg_temp.snapshot_periods;
  end if;
  return folded;
end
$$;

comment on function strata.fold_snapshots(text, boolean) is
  'Derives account_balances and the state from snapshot_rows for the keys that this transaction stored or took back, from the first touched period on; returns the rows written. The latest observation of a period is its row; with only_changes only where balance, usd_value or data differ from the period before. The result does not depend on the order of arrival.';
