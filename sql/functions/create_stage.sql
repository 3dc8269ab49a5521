create or replace function strata.create_stage(source regclass, target text) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  packed  text[] := strata.packed_columns(source);
  columns text;
  kind    record;
  command text;
begin
  select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod))
           || case when a.attcompression = 'p' then ' compression pglz' when a.attcompression = 'l' then ' compression lz4' else '' end
           || case when a.attcollation <> t.typcollation then format(' collate %I.%I', cn.nspname, co.collname) else '' end
           || case when a.attnotnull then ' not null' else '' end
           || case a.attgenerated
                when '' then coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
                else format(' generated always as (%s) %s', pg_get_expr(d.adbin, d.adrelid), case a.attgenerated when 's' then 'stored' else 'virtual' end)
              end, ', ' order by array_position(packed, quote_ident(a.attname))) into columns
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    left join pg_collation co on co.oid = a.attcollation
    left join pg_namespace cn on cn.oid = co.collnamespace
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
   where a.attrelid = source and a.attnum > 0 and not a.attisdropped;
  select concat_ws(', ', columns, string_agg(format('constraint %I %s', k.conname, regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '')), ', '))
    into columns from pg_constraint k where k.conrelid = source and k.contype = 'c';

  select c.relpersistence, am.amname, t.spcname into kind
    from pg_partition_tree(source) p
    join pg_class c on c.oid = p.relid
    left join pg_am am on am.oid = c.relam and am.amname <> 'heap'
    left join pg_tablespace t on t.oid = c.reltablespace
   where p.isleaf order by c.relname limit 1;
  execute format('create %stable %s (%s)%s%s', case when kind.relpersistence = 'u' then 'unlogged ' else '' end, target, columns,
                 ' using ' || quote_ident(kind.amname), ' tablespace ' || quote_ident(kind.spcname));

  for command in
    select format('alter table %s alter column %I set storage %s', target, a.attname,
                  case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end)
      from pg_attribute a join pg_type t on t.oid = a.atttypid
     where a.attrelid = source and a.attnum > 0 and not a.attisdropped and a.attstorage <> t.typstorage
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.create_stage(regclass, text) is
  'Creates the table that is to take the place of a week''s partitions, stored as they are: columns with types, defaults, storage and checks of the week, but in the order of packed_columns(), which PostgreSQL allows a partition to have; no identity, indexes or what copy_properties() gives.';
