create or replace function strata.lock_advice(sqlstate text) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return case when sqlstate in ('55P03', '40P01')
  then ': a long transaction reads or writes this week. Nothing was changed; call again when it has ended, or let `pgstrata maintain consolidate` do it, which makes nobody wait'
  else '' end;

comment on function strata.lock_advice(text) is
  'What to do after a lock was not to be had; empty for any other error.';
