create or replace function strata.prefill_week_partition(week_start timestamptz, remainder int, folding xid8) returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- As fill_week_partition(), and for the same reasons.
set work_mem = '256MB'
set maintenance_work_mem = '256MB'
set max_parallel_maintenance_workers = 0
set default_statistics_target = 10
set enable_nestloop = off
-- Who waits here may wait for somebody who waits for the transaction that waits for this: PostgreSQL cannot see such a ring.
set lock_timeout = '5s'
as $$
declare
  lower_bound timestamptz := strata.week_start(week_start);
  s           strata.partition_sets;
  changes     regclass;
  state       regclass;
  filled      regclass;
  folded      bigint;
begin
  select p.* into strict s from strata.partition_sets p where p.set_name = 'account_balances';
  select l.leaf, strata.state_partition(l.modulus, l.remainder) into changes, state
    from strata.backfill_weeks w
   cross join lateral strata.hash_leaves(w.changes) l
   where w.week_start = lower_bound and w.state = 'keyed' and l.remainder = prefill_week_partition.remainder and l.modulus = s.modulus;
  if state is null or pg_xact_status(folding) is distinct from 'in progress' or strata.state_reaches(state, lower_bound) then
    return null;
  end if;
  select f.* into filled, folded
    from strata.fill_beside(s.parent, strata.prefilled_name(folding, changes), 'fillfactor = ' || s.leaf_fillfactor,
           '{account_address,asset_id,timestamp,balance,change_count}', strata.week_fold_statement(changes || ' c', state::text)) f;
  execute format('alter table %s add constraint %I check ("timestamp" >= %L and "timestamp" < %L)',
    filled, strata.week_name(s.set_name, lower_bound) || '_bounds', lower_bound, lower_bound + interval '168 hours');
  perform strata.build_indexes_like(s.parent, filled);
  execute format('analyze %s (account_address)', filled);
  return folded;
end
$$;

comment on function strata.prefill_week_partition(timestamptz, int, xid8) is
  'Folds one hash partition of a week that stands beside the set, for the transaction that has called begin_backfill_fold() and may run on another connection: the balances come to stand in a table of their own, and nothing else is changed. Returns the balance rows; null where they cannot be made so, and are left to that transaction.';
