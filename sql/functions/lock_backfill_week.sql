create or replace function strata.lock_backfill_week(week_start timestamptz) returns strata.backfill_weeks
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  w strata.backfill_weeks;
begin
  -- Before any other lock: a verify may take its time.
  lock table strata.week_gate in access exclusive mode;
  perform strata.share_gates('account_balances', 'balance_changes');
  -- In this order, as loaders do: the week, then the fold. Whoever still writes to the week is waited for here.
  select * into w from strata.backfill_weeks b where b.week_start = lock_backfill_week.week_start for update;
  if w.state is distinct from 'keyed' then
    return null;
  end if;
  perform strata.lock_fold();
  return w;
end
$$;

comment on function strata.lock_backfill_week(timestamptz) is
  'Keeps everybody else from a week that has its keys, and from the fold, until this transaction ends; null when there is no such week.';
