create or replace function strata.partitions_touched()
returns table (relation text, week timestamptz, kind text, touched int, partitions int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
-- As text: what depends on a distributed table must not depend on one that is not.
as $$
  -- Not by pg_partition_tree(): that takes the very locks we look for.
  with roots as (
    select p.oid as parent, p.relname::text as relation, w.partition, w.lower_bound
      from pg_class p
      join strata.partition_sets s on s.parent = p.oid
     cross join lateral strata.set_partitions(s.set_name) w
     where p.oid in ('strata.balance_changes'::regclass, 'strata.account_balances'::regclass, 'strata.snapshot_rows'::regclass)
    union all
    select p.oid, p.relname::text, p.oid, null
      from pg_class p where p.oid in ('strata.account_balances_current'::regclass, 'strata.account_balances_opening'::regclass)
  ), leaves as (
    select r.relation, r.lower_bound, coalesce(i.inhrelid, r.partition::oid) as leaf,
           case when i.inhrelid is null or c.relname like '%\_consolidated' then 'consolidated' else 'hashed' end as kind
      from roots r
      left join pg_inherits i on i.inhparent = r.partition
      left join pg_class c on c.oid = i.inhrelid
  )
  select l.relation, l.lower_bound, min(l.kind),
         count(*) filter (where exists (
           select from pg_locks k
            where k.pid = pg_backend_pid() and k.locktype = 'relation' and k.relation = l.leaf
              and k.database = (select d.oid from pg_database d where d.datname = current_database())))::int,
         count(*)::int
    from leaves l
   group by l.relation, l.lower_bound
   order by l.relation, l.lower_bound
$$;

comment on function strata.partitions_touched() is
  'What the running transaction has opened of balances, changes, snapshots (a row for each week), of state and of openings: how many of how many leaves. Read from the locks it holds, so it tells of every statement inside every function; what pruning left out was never locked.';
