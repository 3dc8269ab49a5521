create or replace function strata.attach_backfill_week(week_start timestamptz, fold boolean, out folded text, out rows bigint, out balance_rows bigint)
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  w         strata.backfill_weeks := strata.lock_backfill_week(week_start);
  privilege record;
begin
  if w.week_start is null then
    return;
  end if;
  for privilege in
    select x.grantee from pg_class c cross join lateral aclexplode(c.relacl) x where c.oid = w.changes and x.grantee <> c.relowner group by 1
  loop
    execute format('revoke select, insert, delete on %s from %s', w.changes, strata.role_text(privilege.grantee));
  end loop;
  perform strata.attach_week('balance_changes', w.week_start, w.changes);
  perform strata.ensure_weeks('account_balances', w.week_start, w.week_start);
  select f.folded, f.balance_rows, f.change_rows into folded, balance_rows, rows from strata.fold_backfill_week(w.week_start, w.changes, fold) f;
  perform strata.drop_prefilled();
  update strata.backfill_weeks b
     set state = 'attached', changes = null, row_count = rows, balance_rows = attach_backfill_week.balance_rows, folded = attach_backfill_week.folded,
         error = null, attached_at = clock_timestamp()
   where b.week_start = w.week_start;
end
$$;

comment on function strata.attach_backfill_week(timestamptz, boolean) is
  'Makes a week that has its keys a part of balance_changes, folds it (unless told not to), and makes its balances a part of account_balances, in one transaction: readers see the week whole or not at all. Nulls when the week is not there to be attached. The roots are locked SHARE UPDATE EXCLUSIVE, which readers and writers do not meet. begin_backfill_fold() before it lets other connections help.';
