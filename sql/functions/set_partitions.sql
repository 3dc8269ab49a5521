create or replace function strata.set_partitions(set_name text)
returns table (partition regclass, lower_bound timestamptz, upper_bound timestamptz, is_default boolean, leaves int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select c.oid::regclass, b.lower_bound, b.upper_bound, b.is_default,
         (select count(*)::int from pg_inherits leaf where leaf.inhparent = c.oid)
    from strata.partition_sets s
    join pg_inherits i on i.inhparent = s.parent and not i.inhdetachpending
    join pg_class c on c.oid = i.inhrelid
    cross join lateral strata.partition_bounds(c.oid) b
   where s.set_name = set_partitions.set_name
   order by b.lower_bound;
end;

comment on function strata.set_partitions(text) is
  'The attached partitions of a managed set in time order, by their real bounds; leaves is the number of hash partitions, 0 for a consolidated week.';
