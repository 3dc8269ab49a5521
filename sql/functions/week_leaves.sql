create or replace function strata.week_leaves(set_name text, instant timestamptz)
returns table (week regclass, leaf regclass, modulus int, remainder int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select w.partition, i.inhrelid::regclass, bound.parts[1]::int, bound.parts[2]::int
    from strata.set_partitions(week_leaves.set_name) w
    join pg_inherits i on i.inhparent = w.partition
    join pg_class c on c.oid = i.inhrelid
   cross join lateral (
     select regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES WITH \(modulus (\d+), remainder (\d+)\)$') as parts
   ) bound
   where w.lower_bound <= instant and instant < w.upper_bound and bound.parts is not null;
end;

comment on function strata.week_leaves(text, timestamptz) is
  'The hash partitions of the week that holds the instant; none for a week that is consolidated or cut otherwise.';
