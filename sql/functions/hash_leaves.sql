create or replace function strata.hash_leaves(week regclass) returns table (leaf regclass, modulus int, remainder int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select i.inhrelid::regclass, bound.parts[1]::int, bound.parts[2]::int
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
   cross join lateral (
     select regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES WITH \(modulus (\d+), remainder (\d+)\)$') as parts
     -- Not for all tables there are.
     offset 0
   ) bound
   where i.inhparent = hash_leaves.week and bound.parts is not null;
end;

comment on function strata.hash_leaves(regclass) is
  'The hash partitions of a week, which may stand beside its set; none of one that is consolidated or cut otherwise.';
