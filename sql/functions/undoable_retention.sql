create or replace function strata.undoable_retention() returns bigint
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select max(r.retention_id)
    from strata.retentions r where r.set_name = 'account_balances' and r.undone_at is null and r.dropped_at is null;
end;

comment on function strata.undoable_retention() is
  'The newest retention of balances that can still be undone: what is added to opening balances is kept for it by period. Null when there is none.';
