create or replace function strata.begin_backfill_fold(week_start timestamptz, out folding xid8, out parts int[])
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  w strata.backfill_weeks := strata.lock_backfill_week(week_start);
begin
  perform strata.drop_prefilled();
  -- A state that must be rebuilt is rebuilt by this transaction, where nobody else sees it.
  if w.week_start is null or strata.state_is_stale() then
    return;
  end if;
  folding := pg_current_xact_id();
  select array_agg(l.remainder order by l.remainder) into parts
    from strata.hash_leaves(w.changes) l
    join strata.partition_sets s on s.set_name = 'account_balances' and s.layout = 'hash' and s.modulus = l.modulus
   where strata.state_partition(l.modulus, l.remainder) is not null;
end
$$;

comment on function strata.begin_backfill_fold(timestamptz) is
  'Begins the attachment of a week: takes all its locks, so that the state stands still until this transaction ends. Returns the transaction and the hash partitions that other connections may fold meanwhile, see prefill_week_partition(); attach_backfill_week() in this transaction then takes what they have made, and folds the rest. Nulls when all is left to that.';
