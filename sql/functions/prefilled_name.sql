create or replace function strata.prefilled_name(folding xid8, changes regclass) returns name
language sql immutable strict
set search_path = pg_catalog, strata, pg_temp
return format('fresh_%s_%s', folding, changes::oid);

comment on function strata.prefilled_name(xid8, regclass) is
  'The table that prefill_week_partition() fills from a partition of changes for the transaction that folds its week: of no use to any other, since the state goes on.';
