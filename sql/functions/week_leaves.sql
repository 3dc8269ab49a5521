create or replace function strata.week_leaves(set_name text, instant timestamptz)
returns table (week regclass, leaf regclass, modulus int, remainder int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select week.partition, l.leaf, l.modulus, l.remainder
    from (select strata.week_at(week_leaves.set_name, instant) as partition offset 0) week
   cross join lateral strata.hash_leaves(week.partition) l;
end;

comment on function strata.week_leaves(text, timestamptz) is
  'The hash partitions of the week that holds the instant; none for a week that is consolidated or cut otherwise.';
