create or replace function strata.parts_of(parent regclass)
returns table (partition regclass, lower_bound timestamptz, upper_bound timestamptz, is_default boolean, leaves int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
as $$
  select c.oid::regclass, b.lower_bound, b.upper_bound, b.is_default,
         (select count(*)::int from pg_inherits leaf where leaf.inhparent = c.oid)
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral strata.partition_bounds(c.oid) b
   where i.inhparent = parts_of.parent and not i.inhdetachpending
   order by b.lower_bound
$$;

comment on function strata.parts_of(regclass) is
  'The attached partitions of a table that is partitioned by time, in order, by their real bounds; what set_partitions() says of a managed set, and a shard of itself.';
