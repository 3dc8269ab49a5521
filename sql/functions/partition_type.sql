create or replace function strata.partition_type(kind text) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return case when kind in ('hash', 'list') then upper(kind) || '_PARTITIONED' else upper(kind) end;

comment on function strata.partition_type(text) is
  'A kind of strata.week_info() as the reports write it: HASH_PARTITIONED, LIST_PARTITIONED, CONSOLIDATED, ODD, DEFAULT or FOREIGN.';
