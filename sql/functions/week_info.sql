create or replace function strata.week_info(set_name text)
returns table (
  partition regclass, partition_name text, lower_bound timestamptz, upper_bound timestamptz, kind text, leaves int,
  row_estimate bigint, heap_bytes bigint, index_bytes bigint, total_bytes bigint, pages bigint, visible_pages bigint, detach_pending boolean
)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select c.oid::regclass, c.relname::text, b.lower_bound, b.upper_bound,
         case
           when c.relkind = 'f' then 'foreign'
           when b.is_default then 'default'
           when b.lower_bound is distinct from strata.week_start(b.lower_bound)
             or b.upper_bound is distinct from b.lower_bound + interval '168 hours' then 'odd'
           when c.relkind = 'r' and strata.is_distributed(c.oid) then case when a.amname = 'columnar' then 'columnar' else 'sharded' end
           when c.relkind = 'r' then 'consolidated'
           when exists (select from pg_inherits leaf join pg_class l on l.oid = leaf.inhrelid
                         where leaf.inhparent = c.oid and l.relname = c.relname || '_consolidated') then 'consolidated'
           when (select p.partstrat from pg_partitioned_table p where p.partrelid = c.oid) = 'h' then 'hash'
           when (select p.partstrat from pg_partitioned_table p where p.partrelid = c.oid) = 'l' then 'list'
           else 'odd'
         end,
         (select count(*)::int from pg_inherits leaf where leaf.inhparent = c.oid),
         size.row_estimate, size.heap_bytes, size.index_bytes, size.heap_bytes + size.index_bytes, size.pages, size.visible_pages,
         i.inhdetachpending
    from strata.partition_sets s
    join pg_inherits i on i.inhparent = s.parent
    join pg_class c on c.oid = i.inhrelid
    left join pg_am a on a.oid = c.relam
    cross join lateral strata.partition_bounds(c.oid) b
    cross join lateral (
      select case when min(leaf.reltuples) >= 0 then sum(leaf.reltuples)::bigint end as row_estimate,
             coalesce(sum(pg_table_size(leaf.oid)), 0)::bigint as heap_bytes,
             coalesce(sum(pg_indexes_size(leaf.oid)), 0)::bigint as index_bytes,
             coalesce(sum(leaf.relpages), 0)::bigint as pages,
             coalesce(sum(leaf.relallvisible), 0)::bigint as visible_pages
        from pg_partition_tree(c.oid) t join pg_class leaf on leaf.oid = t.relid
       where t.isleaf and leaf.relkind = 'r'
    ) size
   where s.set_name = week_info.set_name
   order by b.lower_bound nulls last, c.relname;
end;

comment on function strata.week_info(text) is
  'Every partition of a managed set with its real bounds, kind, sizes in bytes and freshness. kind: hash or list (a week with leaves), sharded (its hash partitions are the shards of a cluster), columnar (sharded and stored by column), consolidated (one table, or a week whose only leaf is that; see flatten_weeks), odd (not one whole week), default, foreign. row_estimate is null until the leaves were analyzed; pages and visible_pages are those of the last VACUUM or ANALYZE.';
