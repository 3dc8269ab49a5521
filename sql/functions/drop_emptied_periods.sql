create or replace function strata.drop_emptied_periods(earliest timestamptz, latest timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
-- Rows of the periods that are read once and then gone through for each delta are as many comparisons as the product of both.
set enable_material = off
as $$
declare
  excess record;
begin
  -- Whatever counts the planner has seen, it must not believe that next to no row is empty, and read all rows of the
  -- periods once for each delta: that is what the case expressions are for. Each delta looks for its own row by its key.
  execute format($fold$
    delete from strata.account_balances b
     using pg_temp.late_deltas l
     where l.change_count < 0 and b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" = l.period and b."timestamp" between %1$L and %2$L
       and case when b.change_count = 0 then true end
  $fold$, earliest, latest);

  execute format($fold$
    select b.account_address, b.asset_id, b."timestamp"
      from pg_temp.late_deltas l
      join strata.account_balances b
        on b.account_address = l.account_address and b.asset_id = l.asset_id and b."timestamp" = l.period
     where l.change_count < 0 and b."timestamp" between %1$L and %2$L
       and case when b.change_count < 0 then true end limit 1
  $fold$, earliest, latest) into excess;
  if excess.asset_id is not null then
    raise exception 'more changes were taken back than folded: account %, asset %, period %',
      strata.account_text(excess.account_address), excess.asset_id, excess."timestamp"
      using errcode = 'integrity_constraint_violation', hint = 'Run pgstrata verify, then pgstrata rebuild for the keys it names.';
  end if;
end
$$;

comment on function strata.drop_emptied_periods(timestamptz, timestamptz) is
  'The part of fold_late_deltas() for changes taken back: rows that lost their last change go; a row that would owe changes is an error.';
