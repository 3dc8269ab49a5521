--! Previous: sha1:af5ea603f2290d32931279f0b3ec6772b1d7e672
--! Hash: sha1:2a8fe3f612a2c086c8f303e6a32b6ad10fbe2ee3
--! Message: upkeep-and-analytics

alter table strata.partition_sets add column keep_runs interval not null default '90 days' check (keep_runs >= interval '1 day');
comment on column strata.partition_sets.keep_runs is 'How long maintenance_runs keeps a run; the last of each verb and outcome stays';

drop function strata.unmatched_indexes(regclass, regclass);
drop function strata.index_statements(regclass, text);
drop function strata.index_definition(regclass, regclass);
drop function strata.build_indexes_like(regclass, regclass);
drop function strata.copy_table_properties(regclass, regclass);
drop function strata.copy_leaf_properties(regclass, regclass);
drop function strata.twin_index(regclass, regclass);
drop function strata.consolidation_refusal(text, regclass);
drop function strata.consolidation_obstacles(regclass);

-- Checked for each of its rows, the key made retention hold up folds for a third longer; the rows go where their retention
-- does (drop_held, undo_retention), and that is never deleted.
alter table strata.held_openings drop constraint held_openings_retention_id_fkey;

alter table strata.stream_health add column catch_up jsonb;
comment on column strata.stream_health.catch_up is 'While history is loaded in partitions: blocks done and in all (of those that were missing), and what each worker is loading (to is exclusive); null otherwise';

alter table strata.stream_health add column work jsonb not null default '{}';
alter table strata.stream_health add column reorgs jsonb not null default '[]';
comment on column strata.stream_health.work is 'What its process has done since it started: rows, batches, commits, bytes, seconds of COPY, fold and commit, reorgs';
comment on column strata.stream_health.reorgs is 'The newest reorgs: network, first block, rows taken back, instant';

create table strata.prices (
  asset_id  bigint not null references strata.assets,
  priced_at timestamptz not null,
  usd       numeric not null check (usd >= 0 and usd < 'Infinity'),
  source    text not null default '',
  primary key (asset_id, priced_at)
);
comment on table strata.prices is 'What one whole unit of an asset was worth, from an instant on until the next price of it';
comment on column strata.prices.usd is 'US dollars for one whole unit (10^decimals of the smallest)';
comment on column strata.prices.source is 'Where the price is from, as whoever loaded it says';

create table strata.burn_accounts (
  account_address bytea primary key,
  mints           boolean not null default false,
  note            text not null default ''
);
comment on table strata.burn_accounts is 'Accounts that nobody holds: analytics leaves them out of holders and flows. Add those of your chain';
comment on column strata.burn_accounts.mints is 'The null account: transfers from it are mints, transfers to it are burns';
insert into strata.burn_accounts (account_address, mints, note) values
  ('\x0000000000000000000000000000000000000000', true, 'the zero address'),
  ('\x000000000000000000000000000000000000dead', false, '0x…dEaD'),
  ('\xdead000000000000000042069420694206942069', false, '0xdead…');

--! Included functions/packed_columns.sql
create or replace function strata.packed_columns(source regclass) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
begin atomic
  select array_agg(quote_ident(a.attname) order by a.attlen < 0,
                   case when a.attlen > 0 then -c.width end, a.attlen % c.width <> 0, a.attnum)
    from pg_attribute a
    cross join lateral (select case a.attalign when 'd' then 8 when 'i' then 4 when 's' then 2 else 1 end as width) c
   where a.attrelid = source and a.attnum > 0 and not a.attisdropped;
end;

comment on function strata.packed_columns(regclass) is
  'The columns of a table in the order in which a row takes the fewest bytes: those of fixed width from the widest alignment to the narrowest, so that no padding lies between them, then those of any length, which need none while they are short.';
--! EndIncluded functions/packed_columns.sql
--! Included functions/create_stage.sql
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
--! EndIncluded functions/create_stage.sql
--! Included functions/index_statements.sql
create or replace function strata.index_statements(source regclass, target text, packed boolean default true)
returns table (statement text, definition text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select case
           when k.oid is not null then format('alter table %s add %s%s%s', target,
             left(k.definition, length(k.definition) - length(k.tail)), case when packed then ' with (fillfactor = 100)' else p.options end, k.tail)
           else format('create %sindex on %s using %s%s%s', case when i.indisunique then 'unique ' else '' end, target, p.core,
             case
               when packed and a.amname = 'btree' then ' with (fillfactor = 100)'
               when packed and a.amname = 'brin' then ' with (pages_per_range = 16, autosummarize = on)'
               else p.options end,
             p.condition)
         end,
         concat(k.contype, case when i.indisunique then ' unique ' else ' ' end, p.core, p.condition)
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_am a on a.oid = c.relam
    join pg_class t on t.oid = i.indrelid
    join pg_namespace n on n.oid = t.relnamespace
    cross join lateral (
      select coalesce(' with (' || (
               select string_agg(quote_ident(o.option_name) || '='
                        || case when quote_ident(o.option_value) = o.option_value then o.option_value else quote_literal(o.option_value) end, ', ')
                 from pg_options_to_table(c.reloptions) o) || ')', '') as options,
             coalesce(' WHERE ' || pg_get_expr(i.indpred, i.indrelid), '') as condition,
             -- What pg_get_indexdef() says before the access method, to the letter.
             length(concat('CREATE ', case when i.indisunique then 'UNIQUE ' end, 'INDEX ', quote_ident(c.relname), ' ON ',
               case when c.relkind = 'I' then 'ONLY ' end, format('%I.%I', n.nspname, t.relname), ' USING ')) as head
    ) d
    cross join lateral (
      select d.options, d.condition,
             substr(left(pg_get_indexdef(c.oid), length(pg_get_indexdef(c.oid)) - length(d.options) - length(d.condition)), d.head + 1) as core
    ) p
    left join lateral (
      select con.oid, con.contype, pg_get_constraintdef(con.oid) as definition,
             concat(case when con.condeferrable then ' DEFERRABLE' end, case when con.condeferred then ' INITIALLY DEFERRED' end) as tail
        from pg_constraint con where con.conindid = c.oid and con.conrelid = t.oid and con.contype in ('p', 'u')
    ) k on true
   where i.indrelid = source and i.indisvalid
   order by i.indisprimary desc, c.relname;
end;

comment on function strata.index_statements(regclass, text, boolean) is
  'The statements that give target every index of source; packed: as a table that is no longer written much wants them, b-trees full and BRIN fine-grained. Keys come as constraints, because ATTACH adopts no plain index for one. definition is the same for two indexes that ATTACH takes for each other, but for the names of their tables.';
--! EndIncluded functions/index_statements.sql
--! Included functions/unmatched_indexes.sql
create or replace function strata.unmatched_indexes(source regclass, target regclass) returns setof text
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select s.statement
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join lateral strata.index_statements(source, format('%I.%I', n.nspname, c.relname)) s
   where c.oid = target and s.definition not in (select t.definition from strata.index_statements(target, '') t);
end;

comment on function strata.unmatched_indexes(regclass, regclass) is
  'The statements for those indexes of source that target has not; none when ATTACH of target to source would build nothing.';
--! EndIncluded functions/unmatched_indexes.sql
--! Included functions/build_indexes_like.sql
create or replace function strata.build_indexes_like(model regclass, target regclass, packed boolean default false) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  command text;
begin
  for command in
    select i.statement from strata.index_statements(model, target::text, packed) i
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.build_indexes_like(regclass, regclass, boolean) is
  'Builds on one table the primary key, unique constraints and indexes of another, so that an ATTACH in its place finds them; see index_statements().';
--! EndIncluded functions/build_indexes_like.sql
--! Included functions/copy_properties.sql
create or replace function strata.copy_properties(source regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  leaves  oid[] := coalesce((select array_agg(i.inhrelid) from pg_inherits i where i.inhparent = source), array[source::oid]);
  command text;
begin
  for command in
    with like_source as (  -- what holds for the week, or for each of its leaves
      select c.oid, c.relacl, c.relowner from pg_class c where c.oid = source
    ),
    acl as (
      select null::name as column_name, x.grantee, x.privilege_type, x.is_grantable, c.oid = source as of_week
        from pg_class c cross join lateral aclexplode(c.relacl) x
       where c.oid = source or c.oid = any (leaves)
      union all
      select a.attname, x.grantee, x.privilege_type, x.is_grantable, a.attrelid = source
        from pg_attribute a cross join lateral aclexplode(a.attacl) x
       where (a.attrelid = source or a.attrelid = any (leaves)) and a.attnum > 0 and not a.attisdropped
    ),
    granted as (
      select column_name, grantee, privilege_type, bool_or(is_grantable) as is_grantable
        from acl
       where grantee <> (select relowner from like_source)
       group by column_name, grantee, privilege_type
      having bool_or(of_week) or count(*) = cardinality(leaves)
    )
    -- Default privileges have given the new table what the old one may not have.
    select s.statement from (
    select 1 as place, format('revoke all on table %s from %s', target, strata.role_text(x.grantee))
      from pg_class c cross join lateral aclexplode(c.relacl) x
     where c.oid = target and x.grantee <> c.relowner
     group by x.grantee
    union all
    select 2, format('alter table %s owner to %I', target, pg_get_userbyid(s.relowner))
      from like_source s, pg_class t where t.oid = target and t.relowner <> s.relowner
    union all
    select 3, format('grant %s%s on table %s to %s%s', privilege_type, ' (' || quote_ident(column_name) || ')', target,
             strata.role_text(grantee), case when is_grantable then ' with grant option' else '' end)
      from granted
    union all
    select 4, format('alter table %s enable row level security', target)
     where exists (select from pg_class c where (c.oid = source or c.oid = any (leaves)) and c.relrowsecurity)
    union all
    select 4, format('alter table %s force row level security', target)
     where exists (select from pg_class c where (c.oid = source or c.oid = any (leaves)) and c.relforcerowsecurity)
    union all
    select 5, format('create policy %I on %s as %s for %s to %s%s%s', p.polname, target,
             case when p.polpermissive then 'permissive' else 'restrictive' end,
             case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
             (select string_agg(strata.role_text(r), ', ') from unnest(p.polroles) r),
             ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
      from (select distinct on (polname) * from pg_policy
             where polrelid = source or polrelid = any (leaves) order by polname, polrelid <> source) p
    union all
    select 6, format('comment on table %s is %L', target, obj_description(source, 'pg_class'))
     where obj_description(source, 'pg_class') is not null
    union all
    -- What leaves agree on; room for updates is what a settled week does not need.
    select 7, format('alter table %s set (%s)', target, string_agg(format('%I = %L', option_name, option_value), ', '))
      from (select o.option_name, o.option_value
              from pg_class c cross join lateral pg_options_to_table(c.reloptions) o
             where c.oid = any (leaves) and o.option_name <> 'fillfactor'
               and (select t.relkind from pg_class t where t.oid = target) = 'r'
             group by 1, 2 having count(*) = cardinality(leaves)) agreed
    having count(*) > 0
    union all
    select 7, format('alter table %s set (%s)', target, string_agg(format('toast.%I = %L', option_name, option_value), ', '))
      from (select o.option_name, o.option_value
              from pg_class c join pg_class x on x.oid = c.reltoastrelid cross join lateral pg_options_to_table(x.reloptions) o
             where c.oid = any (leaves) and (select t.reltoastrelid from pg_class t where t.oid = target) <> 0
             group by 1, 2 having count(*) = cardinality(leaves)) agreed
    having count(*) > 0
    union all
    select 8, format('alter table %s alter column %I set statistics %s', target, a.attname, max(l.attstattarget))
      from pg_attribute a
      join pg_attribute l on l.attname = a.attname and (l.attrelid = source or l.attrelid = any (leaves)) and l.attstattarget >= 0
     where a.attrelid = target and a.attnum > 0 and not a.attisdropped
     group by a.attname
    union all
    select 9, format('alter table %s alter column %I set (%s)', target, attname, string_agg(format('%I = %L', option_name, option_value), ', '))
      from (select distinct on (l.attname, o.option_name) l.attname, o.option_name, o.option_value
              from pg_attribute l cross join lateral pg_options_to_table(l.attoptions) o
             where (l.attrelid = source or l.attrelid = any (leaves)) and not l.attisdropped
             order by l.attname, o.option_name, l.attrelid <> source) options
     group by attname
    union all
    select 10, format('comment on column %s.%I is %L', target, a.attname, col_description(source, a.attnum))
      from pg_attribute a
     where a.attrelid = source and a.attnum > 0 and not a.attisdropped and col_description(source, a.attnum) is not null
    union all
    select 10 + part, case part
             when 1 then format('create statistics %s%s on %s from %s', name, ' (' || kinds || ')', columns, target)
             else format('alter statistics %s set statistics %s', name, stattarget) end
      from (select pg_get_statisticsobjdef_columns(e.oid) as columns, (to_jsonb(e) ->> 'stxstattarget')::int as stattarget,
                   format('%I.%I', n.nspname, left(c.relname, 52) || '_stat_' || row_number() over (order by e.oid)) as name,
                   (select string_agg(case k when 'd' then 'ndistinct' when 'f' then 'dependencies' else 'mcv' end, ', ')
                      from unnest(e.stxkind) k where k in ('d', 'f', 'm')) as kinds
              from pg_statistic_ext e cross join pg_class c join pg_namespace n on n.oid = c.relnamespace
             where e.stxrelid = source and c.oid = target
               and not exists (select from pg_statistic_ext o where o.stxrelid = target and o.stxkind = e.stxkind
                                  and pg_get_statisticsobjdef_columns(o.oid) = pg_get_statisticsobjdef_columns(e.oid))) extended
      cross join generate_series(1, 2) part
     where part = 1 or stattarget >= 0
    ) s(place, statement) order by s.place
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.copy_properties(regclass, regclass) is
  'Gives target what columns and checks alone do not bring: owner, grants of table and columns, row level security and its policies, comments, storage parameters (not fillfactor: a settled week needs no room for updates), statistics targets and options of columns, extended statistics. Where source is partitioned, what its partitions agree on counts too. What must act on one of the two only is for hand_over().';
--! EndIncluded functions/copy_properties.sql
--! Included functions/hand_over.sql
create or replace function strata.hand_over(source regclass, target regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  leaves  oid[] := coalesce((select array_agg(i.inhrelid) from pg_inherits i where i.inhparent = source), array[source::oid]);
  givers  oid[] := leaves || source::oid;
  whole   text  := (select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = source);
  identity record;
  command text;
begin
  select c.oid::regclass as name, c.relreplident, (
           select tc.relname
             from pg_index si
             join pg_index ti on ti.indrelid = target and ti.indisunique and ti.indimmediate
              and (select array_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = ti.indexrelid)
                = (select array_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = si.indexrelid)
             join pg_class tc on tc.oid = ti.indexrelid
            where si.indrelid = c.oid and si.indisreplident
            limit 1) as twin into identity
    from pg_class c where c.oid = any (givers)
   order by c.relreplident = 'd', c.oid <> source limit 1;
  if identity.relreplident = 'i' and identity.twin is null then
    raise exception '% has no unique index like the one that is the replica identity of %', target, identity.name
      using errcode = 'undefined_object', hint = 'Create that index on the parent table, or choose another replica identity.';
  end if;
  for command in
    select s.statement from (
    select 1 as place, overlay(t.definition placing ' ON ' || target || ' '
             from position(' ON ' || whole || ' ' in t.definition) for length(' ON ' || whole || ' '))
      from (select g.oid, pg_get_triggerdef(g.oid) as definition from pg_trigger g
             where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted') t
    union all
    select 2, format('alter table %s %s trigger %I', target,
             case g.tgenabled when 'A' then 'enable always' when 'R' then 'enable replica' else 'disable' end, g.tgname)
      from pg_trigger g
     where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted' and g.tgenabled <> 'O'
    union all
    select 3, format('drop trigger %I on %s', g.tgname, source)
      from pg_trigger g
     where g.tgrelid = source and not g.tgisinternal and g.tgparentid = 0 and g.tgname <> 'strata_adopted'
    union all
    select 4, format('alter publication %I add table %s%s%s', p.pubname, receiver, m.columns, m.condition)
      from pg_publication p
      join (select distinct on (r.prpubid) r.prpubid,
                   ' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
                             where a.attrelid = r.prrelid and a.attnum = any (r.prattrs::int2[])) || ')' as columns,
                   ' where (' || pg_get_expr(r.prqual, r.prrelid) || ')' as condition
              from pg_publication_rel r where r.prrelid = any (givers) order by r.prpubid, r.prrelid <> source) m on m.prpubid = p.oid
      -- A partitioned table takes a list of columns or a condition only where it is published as one.
      cross join lateral (
        select i.inhrelid::regclass as receiver from pg_inherits i where i.inhparent = target and not p.pubviaroot
        union all
        select target where p.pubviaroot or not exists (select from pg_inherits i where i.inhparent = target)
      ) r
    union all
    select 5, format('alter publication %I drop table %s', p.pubname, string_agg(r.prrelid::regclass::text, ', '))
      from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
     where r.prrelid = any (givers)
     group by p.pubname
    union all
    select 6, format('alter table %s replica identity %s', target,
             case identity.relreplident
               when 'f' then 'full'
               when 'n' then 'nothing'
               when 'i' then 'using index ' || quote_ident(identity.twin)
               else 'default'
             end)
    ) s(place, statement) order by s.place
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.hand_over(regclass, regclass) is
  'Moves what must act on exactly one of two tables from source to target: triggers of its own with their state, membership of publications, replica identity. Call it in the transaction that swaps them, after the last row was copied: nothing may fire for the copies.';
--! EndIncluded functions/hand_over.sql
--! Included functions/consolidation_obstacles.sql
create or replace function strata.consolidation_obstacles(set_name text, week regclass)
returns table (obstacle text, remedy text, concerns text)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  with parts as (
    select c.oid, c.relname, c.relkind, c.relpersistence, c.relowner, n.nspname, c.oid = week as is_week
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = week or c.oid in (select i.inhrelid from pg_inherits i where i.inhparent = week)
  ),
  root as (
    select i.inhparent as oid from pg_inherits i where i.inhrelid = week
  ),
  involved as (
    select oid from parts union all select oid from root
  ),
  taken as (  -- names that consolidating makes, and where
    select p.nspname as schema_name, p.relname || '_consolidated' as name from parts p where p.is_week
    union all
    select 'strata_held', p.relname::text from parts p
    union all
    select 'strata_held', p.relname || suffix from parts p, unnest(array['_capture', '_reverse']) suffix where p.is_week
  )
  select o.obstacle, o.remedy, 'week'
    from strata.week_info(set_name) w
    cross join lateral (
      select 'it is consolidated already', 'There is nothing to do.' where w.kind = 'consolidated'
      union all
      select 'it is not one whole week (Sunday 00:00 UTC to the next)', 'Leave it, or move its rows into weeks.' where w.kind = 'odd'
      union all
      select format('it is a %s partition', w.kind), 'Maintenance leaves it alone.' where w.kind not in ('consolidated', 'odd', 'hash', 'list')
      union all
      select 'it has no partitions', 'There is nothing to merge.' where w.kind in ('hash', 'list') and w.leaves = 0
      union all
      select 'it is not over yet', 'Wait until it is.' where w.kind in ('hash', 'list') and w.upper_bound > now()
      union all
      select format('a consolidation of it is unfinished (%s since %s)', c.step, c.started_at), 'Finish or undo that one first: pgstrata maintain consolidate.'
        from strata.consolidations c
       where c.set_name = consolidation_obstacles.set_name and c.lower_bound = w.lower_bound and c.finished_at is null and w.kind <> 'consolidated'
    ) o (obstacle, remedy)
   where w.partition = week
  union all
  select format('the set has a DEFAULT partition, %s, which every attach would scan while all queries wait', t.partdefid::regclass),
         'Move its rows into weeks and drop it; what is out of bounds belongs into strata.quarantine.', 'week'
    from pg_partitioned_table t join root r on r.oid = t.partrelid where t.partdefid <> 0
  union all
  select format('the detach of %s was interrupted', i.inhrelid::regclass),
         format('Finish it: ALTER TABLE %s DETACH PARTITION %s FINALIZE;', i.inhparent::regclass, i.inhrelid::regclass), 'week'
    from pg_inherits i join root r on r.oid = i.inhparent where i.inhdetachpending
  union all
  select 'the table has no primary key to follow changes by', 'Add a PRIMARY KEY to the parent.', 'online'
    from root r where not exists (select from pg_constraint k where k.conrelid = r.oid and k.contype = 'p')
  union all
  select format('the foreign key %I ties %s to other tables', k.conname, k.conrelid::regclass),
         'Drop it: partitions cannot be exchanged under a foreign key without checking every row.', 'online'
    from pg_constraint k
   where k.contype = 'f' and k.conparentid = 0 and (k.conrelid in (select oid from involved) or k.confrelid in (select oid from involved))
  union all
  select format('%s has the exclusion constraint %I', k.conrelid::regclass, k.conname), 'Drop it, or leave this set''s weeks as they are.', 'week'
    from pg_constraint k where k.contype = 'x' and k.conrelid = week
  union all
  select format('%s is no ordinary, logged table', p.oid::regclass), 'Only ordinary leaves can be merged.',
         case when p.relkind <> 'r' then 'week' else 'online' end
    from parts p where not p.is_week and (p.relkind <> 'r' or p.relpersistence <> 'p')
  union all
  select format('%s lies in another schema than its week', p.oid::regclass), 'Move it: ALTER TABLE … SET SCHEMA.', 'online'
    from parts p where p.nspname <> (select w.nspname from parts w where w.is_week)
  union all
  select format('%s has the trigger %I of its own', g.tgrelid::regclass, g.tgname), 'Create it on the week or on the parent, or drop it.', 'week'
    from pg_trigger g join parts p on p.oid = g.tgrelid
   where not p.is_week and not g.tgisinternal and g.tgparentid = 0
  union all
  select format('%s has the index %s of its own', x.indrelid::regclass, x.indexrelid::regclass), 'Create it on the parent, or drop it.', 'online'
    from pg_index x join parts p on p.oid = x.indrelid
   where not p.is_week and not exists (select from pg_inherits i where i.inhrelid = x.indexrelid)
  union all
  select format('%s is used by the view or rule of %s', d.refobjid::regclass, w.ev_class::regclass), 'Let it read the parent instead.', 'week'
    from pg_depend d
    join pg_rewrite w on w.oid = d.objid
   where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid in (select oid from parts)
   group by d.refobjid, w.ev_class
  union all
  select format('the name %s is too long to derive others from', quote_ident(p.relname)), 'Rename the week: at most 50 bytes.', 'week'
    from parts p where p.is_week and octet_length(p.relname) > 50
  union all
  select format('there is a %I.%I already', t.schema_name, t.name),
         case when t.schema_name = 'strata_held' then 'Drop what is held there, or wait until it is due.' else 'Rename or drop it.' end, 'week'
    from taken t join pg_class c on c.relname = t.name join pg_namespace n on n.oid = c.relnamespace and n.nspname = t.schema_name
  union all
  select format('row level security hides rows of %s from %I', p.oid::regclass, current_user), 'Run maintenance as a role with BYPASSRLS.', 'role'
    from parts p where row_security_active(p.oid)
  union all
  select format('%s does not belong to %I', c.oid::regclass, current_user), 'Run maintenance as the owner, or as a member of that role.', 'role'
    from pg_class c where c.oid in (select oid from involved) and not pg_has_role(c.relowner, 'usage')
  union all
  select format('%I may not create tables in schema %I', current_user, n.nspname), format('GRANT CREATE ON SCHEMA %I TO %I;', n.nspname, current_user), 'role'
    from pg_namespace n
   where (n.nspname = 'strata_held' or n.nspname in (select p.nspname from parts p where p.is_week))
     and not has_schema_privilege(n.oid, 'create')
  union all
  select format('the prepared transaction %s holds locks on %s', quote_literal(x.gid), min(l.relation::regclass::text)),
         format('Commit it or roll it back: ROLLBACK PREPARED %L;', x.gid), 'online'
    from pg_prepared_xacts x
    join pg_locks l on l.transactionid = x.transaction or l.virtualtransaction = '-1/' || x.transaction::text
   where x.database = current_database() and l.relation in (select oid from involved)
   group by x.gid;
end;

comment on function strata.consolidation_obstacles(text, regclass) is
  'Why a week of a set cannot be consolidated now, each with what to do; no row when nothing stands in the way. concerns: week, whoever does it and however; online, only the way that lets writers go on, which exchanges tables under them; role, only who asks.';
--! EndIncluded functions/consolidation_obstacles.sql
--! Included functions/week_digest.sql
create or replace function strata.week_digest(rows_of regclass, out row_count bigint, out hash numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set row_security = off
as $$
begin
  execute format('select count(*), coalesce(sum(hashtextextended(row(%s)::text, 0)), 0) from %s t',
    (select string_agg('t.' || quote_ident(a.attname), ', ' order by a.attname) from pg_attribute a
      where a.attrelid = rows_of and a.attnum > 0 and not a.attisdropped), rows_of) into row_count, hash;
end
$$;

comment on function strata.week_digest(regclass) is
  'Row count of a table and the sum of a 64-bit hash of every row''s text: equal for two tables that hold the same rows, in whatever order rows and columns lie.';
--! EndIncluded functions/week_digest.sql
--! Included functions/sample_statement.sql
create or replace function strata.sample_statement(week regclass, pages_max int default 96) returns text
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  run_pages constant int := 4;
  columns   text;
  leaf      record;
  runs      int;
  pieces    text[] := '{}';
begin
  select string_agg('t.' || c, ', ' order by place) into columns from unnest(strata.packed_columns(week)) with ordinality p(c, place);
  for leaf in
    select t.relid, (pg_relation_size(t.relid) / current_setting('block_size')::int)::bigint as pages from pg_partition_tree(week) t where t.isleaf
  loop
    if leaf.pages <= pages_max then
      pieces := pieces || format('select 1::float8 as strata_weight, pg_column_size(row(%s)) as strata_bytes, %s from only %s t', columns, columns, leaf.relid);
      continue;
    end if;
    runs := pages_max / run_pages;
    pieces := pieces || array(
      select format('select %s::float8 as strata_weight, pg_column_size(row(%s)) as strata_bytes, %s from only %s t where t.ctid >= ''(%s,0)'' and t.ctid < ''(%s,0)''',
                    leaf.pages::float8 / (runs * run_pages), columns, columns, leaf.relid, first, first + run_pages)
        from (select leaf.pages * run / runs as first from generate_series(0, runs - 1) run) r);
  end loop;
  return array_to_string(pieces, E'\nunion all ');
end
$$;

comment on function strata.sample_statement(regclass, int) is
  'A query for a sample of a week''s rows: every live row of up to pages_max pages of each partition, taken in runs all over it, with what one row stands for (strata_weight) and its bytes in a heap whose columns are packed (strata_bytes). Counts are then true even where dead rows and empty pages lie between.';
--! EndIncluded functions/sample_statement.sql
--! Included functions/estimate_index.sql
create or replace function strata.estimate_index(index regclass, week regclass, sample text) returns float8
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  page       constant int := current_setting('block_size')::int;
  i          record;
  keys       text;
  predicate  text;
  measured   record;
  copies     float8;
  tuple      float8;
  leaf_pages float8;
begin
  select x.*, a.amname, c.reloptions into strict i
    from pg_index x join pg_class c on c.oid = x.indexrelid join pg_am a on a.oid = c.relam where x.indexrelid = index;
  if i.amname = 'brin' then
    return 6 * page;  -- its three kinds of pages, of each one for a week, and a free space map
  elsif i.amname <> 'btree' then
    -- Its size does not follow from its keys; what it has now is the best guess.
    return coalesce((select sum(pg_relation_size(t.relid)) from pg_partition_tree(index) t join pg_index x on x.indexrelid = t.relid
                      where x.indrelid in (select w.relid from pg_partition_tree(week) w)), 0);
  end if;

  select string_agg(pg_get_indexdef(index, k::int, true), ', ' order by k) into keys from generate_series(1, i.indnatts) k;
  predicate := coalesce(pg_get_expr(i.indpred, i.indrelid), 'true');
  execute format($measure$
    with sampled as (
      select s.strata_weight, 8 * ceil((8 + case when num_nulls(%1$s) > 0 then 8 else 0 end + pg_column_size(row(%1$s)) - 24) / 8.0) as bytes,
             hashtextextended(row(%1$s)::text, 0) as key
        from (%2$s) s where %3$s
    ), grouped as (
      select count(*) as n from sampled group by key
    )
    select (select sum(strata_weight) from sampled) as rows, (select sum(strata_weight * bytes) / sum(strata_weight) from sampled) as bytes,
           sum(g.n)::float8 as n, count(*)::float8 as keys, count(*) filter (where g.n = 1)::float8 as once
      from grouped g
  $measure$, keys, sample, predicate) into measured;
  if coalesce(measured.rows, 0) = 0 then
    return page;
  end if;

  -- How many rows share a key: Haas and Stokes' estimator of distinct values, as ANALYZE has it. A unique index has no duplicates.
  copies := case when i.indisunique then 1 else
    greatest(1, measured.rows * (measured.n - measured.once + measured.once * measured.n / measured.rows) / (measured.n * measured.keys)) end;
  tuple := measured.bytes + 4;
  if copies >= 2 and i.indnatts = i.indnkeyatts and coalesce(not 'deduplicate_items=off' = any (i.reloptions), true) then
    -- Duplicates lie in lists of 6 bytes a row, one list at most a tenth of a page.
    copies := least(copies, (page / 10 - measured.bytes) / 6);
    tuple := (tuple + 6 * copies) / copies;
  end if;
  leaf_pages := ceil(measured.rows / floor((page - 40) / tuple));
  return page * (1 + leaf_pages + case when leaf_pages > 1 then ceil(leaf_pages * (measured.bytes + 12) / (0.7 * page)) else 0 end);
end
$$;

comment on function strata.estimate_index(regclass, regclass, text) is
  'Bytes of an index of the parent when it is built anew over the rows of a week, of which sample is a sample: entries of their true width, pages full, duplicates folded together as a b-tree does.';
--! EndIncluded functions/estimate_index.sql
--! Included functions/build_consolidated.sql
create or replace function strata.build_consolidated(set_name text, week regclass) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set row_security = off
set work_mem = '64MB'
as $$
declare
  s          strata.partition_sets := strata.require_set(set_name);
  w          record;
  stage      text;
  columns    text;
  heap_key   text;
  estimate   record;
  source     record;
  copied     record;
  definition text;
  id         bigint;
begin
  select i.*, n.nspname into strict w
    from strata.week_info(set_name) i join pg_class c on c.oid = i.partition join pg_namespace n on n.oid = c.relnamespace
   where i.partition = build_consolidated.week;
  perform strata.lock_week(week);
  select * into estimate from strata.estimate_week_saving(set_name, week);

  stage := format('%I.%I', w.nspname, w.partition_name || '_consolidated');
  perform strata.create_stage(week, stage);
  if not exists (select from pg_constraint c where c.conrelid = stage::regclass and c.conname = w.partition_name || '_bounds') then
    -- With a CHECK that equals its bounds the table is attached without a scan.
    execute format('alter table %1$s add constraint week_bounds check (%2$I >= %3$L and %2$I < %4$L)', stage, s.time_column, w.lower_bound, w.upper_bound);
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
    from pg_attribute a where a.attrelid = week and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
  select string_agg(pg_get_indexdef(i.indexrelid, k::int, true), ', ' order by k) into heap_key
    from pg_index i, generate_series(1, i.indnkeyatts) k where i.indrelid = week and i.indisprimary;
  heap_key := coalesce(heap_key, format('%I, %I', s.hash_column, s.time_column));
  if s.heap_order = 'time' then
    -- In slices: strict time order would scatter an account over as many pages as it has rows.
    heap_key := format('date_bin(interval ''10 hours'', %I, %L::timestamptz), %s', s.time_column, w.lower_bound, heap_key);
  end if;
  execute format('insert into %1$s (%2$s) select %2$s from %3$s order by %4$s', stage, columns, week, heap_key);

  perform strata.build_indexes_like(s.parent, stage::regclass, packed => true);
  for definition in
    select pg_get_constraintdef(c.oid) from pg_constraint c where c.conrelid = s.parent and c.contype = 'f' and c.conparentid = 0
  loop
    execute format('alter table %s add %s', stage, definition);
  end loop;

  select d.* into source from strata.week_digest(week) d;
  select d.* into copied from strata.week_digest(stage::regclass) d;
  if source is distinct from copied then
    raise exception '% has % rows with hash %, its copy % with hash %', week, source.row_count, source.hash, copied.row_count, copied.hash
      using errcode = 'data_corrupted', hint = 'Nothing was changed. Look for a trigger or a rule that alters rows on their way.';
  end if;
  perform strata.copy_properties(week, stage::regclass);
  execute format('analyze %s', stage);

  insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage, stage_name, heap_order,
                                     row_count, bytes_before, bytes_after, predicted_saving, actual_saving, proof)
  select s.set_name, w.lower_bound, w.upper_bound, 'transaction', 'verified', week, w.partition_name, stage::regclass, w.partition_name || '_consolidated',
         s.heap_order, copied.row_count, w.total_bytes, size.bytes, estimate.predicted_saving, round(1 - size.bytes::numeric / nullif(w.total_bytes, 0), 4),
         jsonb_build_object('rows', copied.row_count, 'hash', copied.hash::text, 'rows_before', source.row_count, 'hash_before', source.hash::text)
    from (select pg_total_relation_size(stage::regclass) as bytes) size
  returning consolidation_id into id;
  return id;
end
$$;

comment on function strata.build_consolidated(text, regclass) is
  'First half of consolidating a week in one transaction: copies it, in the set''s heap_order, into <week>_consolidated with every index and constraint of the parent, proves the copy by count and hash, and journals it. From the start until the end of the transaction the writers of this week wait; nobody else does. Returns the consolidation_id for swap_consolidated().';
--! EndIncluded functions/build_consolidated.sql
--! Included functions/swap_within_week.sql
create or replace function strata.swap_within_week(c strata.consolidations) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- Below deadlock_timeout: it is us who give up, never somebody who waits for us.
set lock_timeout = '500ms'
as $$
declare
  s      strata.partition_sets := strata.require_set(c.set_name);
  listed boolean := (select p.partstrat = 'l' from pg_partitioned_table p where p.partrelid = c.week);
  held   text := format('strata_held.%I', c.week_name);
  leaf   record;
begin
  if exists (
    select from pg_locks waiting join pg_locks held on held.pid = waiting.pid and held.locktype = 'relation' and held.granted
     where waiting.locktype = 'relation' and not waiting.granted
       and waiting.database = (select d.oid from pg_database d where d.datname = current_database()) and held.database = waiting.database
       and waiting.relation in (select t.relid from pg_partition_tree(c.week::regclass) t)
       and held.relation in (select t.relid from pg_partition_tree(c.week::regclass) t)
  ) then
    raise exception 'a transaction that has read this week waits to write to it' using errcode = 'lock_not_available';
  end if;
  if not listed then
    -- The CHECK that a hash partition of all rows implies; checked now, while nothing but the copy is locked.
    execute format('alter table %s add constraint whole_week check (satisfies_hash_partition(%s::oid, 1, 0, %I))', c.stage::regclass, c.week, s.hash_column);
  end if;
  execute format('lock table only %s in access exclusive mode', c.week::regclass);
  perform strata.hand_over(c.week, c.stage);
  execute format('create table %s (like %s including all excluding identity) partition by %s', held, c.week::regclass, pg_get_partkeydef(c.week));
  for leaf in
    select i.inhrelid::regclass as name, pg_get_expr(l.relpartbound, l.oid) as bound
      from pg_inherits i join pg_class l on l.oid = i.inhrelid where i.inhparent = c.week
     order by pg_get_expr(l.relpartbound, l.oid) = 'DEFAULT', l.relname
  loop
    execute format('alter table %s detach partition %s', c.week::regclass, leaf.name);
    execute format('alter table %s set schema strata_held', leaf.name);
    execute format('alter table %s attach partition %s %s', held, leaf.name, leaf.bound);
  end loop;
  perform strata.copy_properties(c.week, held::regclass);
  execute format('alter table %s attach partition %s %s', c.week::regclass, c.stage::regclass,
    case when listed then 'default' else 'for values with (modulus 1, remainder 0)' end);
  if not listed then
    execute format('alter table %s drop constraint whole_week', c.stage::regclass);
  end if;
end
$$;

comment on function strata.swap_within_week(strata.consolidations) is
  'The part of swap_consolidated() that needs no lock on the parent: the copy becomes the only partition of the week, and what were its partitions go to strata_held under a table of the week''s name. Who waits to write to the week writes to the copy then; readers of this week wait while its old partitions are looked through.';
--! EndIncluded functions/swap_within_week.sql
--! Included functions/swap_consolidated.sql
create or replace function strata.swap_consolidated(consolidation_id bigint) returns text
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set lock_timeout = '100ms'
as $$
declare
  c    strata.consolidations;
  s    strata.partition_sets;
  how  text := 'root';
begin
  perform strata.refuse_old_snapshots();
  select * into strict c from strata.consolidations j where j.consolidation_id = swap_consolidated.consolidation_id;
  s := strata.require_set(c.set_name);
  begin
    -- Somebody who waits to write to this week holds the root, so to wait for the root would be a deadlock.
    if strata.is_awaited(c.week) then
      raise lock_not_available;
    end if;
    perform pg_advisory_xact_lock(strata.advisory_key('gate ' || s.set_name));
    execute format('lock table only %s in access exclusive mode', s.parent);
    perform strata.hand_over(c.week, c.stage);
    execute format('alter table %s detach partition %s', s.parent, c.week::regclass);
    perform strata.hold_tables(c.week);
    execute format('alter table %s attach partition %s for values from (%L) to (%L)', s.parent, c.stage::regclass, c.lower_bound, c.upper_bound);
  exception when lock_not_available or deadlock_detected then
    how := 'week';
    perform strata.swap_within_week(c);
  end;

  insert into strata.held_partitions (set_name, lower_bound, upper_bound, reason, partition, partition_name, bytes, row_count, consolidation_id, drop_after)
  select c.set_name, c.lower_bound, c.upper_bound, 'consolidated', format('strata_held.%I', c.week_name)::regclass, c.week_name, c.bytes_before, c.row_count,
         c.consolidation_id, clock_timestamp() + s.hold;
  update strata.consolidations j
     set step = 'swapped', swapped_at = clock_timestamp(), updated_at = clock_timestamp(), week = format('strata_held.%I', c.week_name)::regclass,
         detail = j.detail || jsonb_build_object('swapped_in', how)
   where j.consolidation_id = c.consolidation_id;
  return how;
end
$$;

comment on function strata.swap_consolidated(bigint) is
  'Second half of consolidating a week in one transaction: puts the copy in the place of the week, which goes to schema strata_held with its partitions. Takes ACCESS EXCLUSIVE on the parent and keeps it until the end of the transaction, so commit at once (returns ''root''). Where the parent is not to be had in 100 ms, because somebody reads or writes a long time or waits to write to this week, the copy becomes the week''s only partition instead, which locks nothing but the week (returns ''week''); flatten_weeks() makes up for the rest later.';
--! EndIncluded functions/swap_consolidated.sql
--! Included functions/prune_runs.sql
create or replace function strata.prune_runs(set_name text) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  pruned bigint;
begin
  delete from strata.maintenance_runs r
   using strata.partition_sets s
   where s.set_name = prune_runs.set_name and r.set_name = s.set_name
     and r.started_at < clock_timestamp() - s.keep_runs and r.outcome <> 'running'
     and exists (select from strata.maintenance_runs later
                  where later.set_name = r.set_name and later.verb = r.verb and later.outcome = r.outcome
                    and later.detail ? 'narrowed' = r.detail ? 'narrowed'
                    and (later.started_at, later.run_id) > (r.started_at, r.run_id));
  get diagnostics pruned = row_count;
  return pruned;
end
$$;

comment on function strata.prune_runs(text) is
  'Deletes the maintenance runs of a set that are older than its keep_runs, but never the last of a verb and outcome: what is due and what has failed is read from those. Every run begins with it.';
--! EndIncluded functions/prune_runs.sql
--! Included functions/consolidate_weeks.sql
create or replace function strata.consolidate_weeks(set_name text, weeks regclass[])
returns table (week_key text, status text, row_count bigint, bytes_before bigint, bytes_after bigint, saving numeric, message text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  s      strata.partition_sets := strata.require_set(consolidate_weeks.set_name);
  run    bigint;
  week   regclass;
  ids    bigint[] := '{}';
  id     bigint;
  failed int := 0;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'consolidation needs isolation level read committed, not %', current_setting('transaction_isolation')
      using errcode = 'invalid_transaction_state', hint = 'An older snapshot would miss what writers commit before they are made to wait.';
  end if;
  perform strata.lock_maintenance(s.set_name);
  perform strata.prune_runs(s.set_name);
  insert into strata.maintenance_runs (set_name, verb, asked_by, plan)
  values (s.set_name, 'consolidate', 'sql', jsonb_build_object('weeks', to_jsonb(weeks::text[]))) returning run_id into run;

  -- All that is slow comes first: the parent, once locked for a swap, stays locked until the transaction ends.
  foreach week in array weeks loop
    declare
      refusal text := (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(s.set_name, week) o where o.concerns = 'week' limit 1);
    begin
      if refusal is not null then
        raise exception '%', refusal using errcode = 'object_not_in_prerequisite_state';
      end if;
      ids := ids || strata.build_consolidated(s.set_name, week);
    exception when others then
      failed := failed + 1;
      ids := ids || strata.note_failure(s.set_name, week, sqlerrm || strata.lock_advice(sqlstate));
    end;
  end loop;
  foreach id in array ids loop
    declare
      c strata.consolidations;
    begin
      select * into strict c from strata.consolidations j where j.consolidation_id = id;
      continue when c.step = 'failed';
      perform strata.swap_consolidated(id);
    exception when others then
      failed := failed + 1;
      execute format('drop table %s', c.stage::regclass);
      update strata.consolidations j
         set step = 'failed', error = sqlerrm || strata.lock_advice(sqlstate), finished_at = clock_timestamp(), updated_at = clock_timestamp() where j.consolidation_id = id;
    end;
  end loop;

  update strata.consolidations j set run_id = run where j.consolidation_id = any (ids);
  update strata.maintenance_runs m
     set finished_at = clock_timestamp(), outcome = case when failed > 0 then 'failed' when cardinality(ids) = 0 then 'nothing' else 'done' end,
         error = case when failed > 0 then failed || ' of ' || cardinality(ids) || ' weeks failed' end
   where m.run_id = run;
  return query
    select strata.week_key(j.lower_bound), case when j.step = 'failed' then 'FAILED' else 'CONSOLIDATED' end, j.row_count, j.bytes_before,
           case when j.step <> 'failed' then j.bytes_after end, case when j.step <> 'failed' then j.actual_saving end,
           coalesce(j.error, format('%s rows in %s; the old week is held as strata_held.%I', j.row_count, j.stage::regclass, j.week_name))
      from unnest(ids) with ordinality u(id, place) join strata.consolidations j on j.consolidation_id = u.id order by u.place;
end
$$;

comment on function strata.consolidate_weeks(text, regclass[]) is
  'Consolidates these weeks of a set in one transaction; one that fails is reported as FAILED with its error and left as it was, the others go on. Writers of a week wait from its turn until the transaction ends, everybody for the moment of the swaps at its end: commit at once, or call strata.consolidate_old_weeks_singly(), which commits week by week.';
--! EndIncluded functions/consolidate_weeks.sql
--! Included functions/old_weeks.sql
create or replace function strata.old_weeks(set_name text, months int)
returns table (
  partition regclass, week_key text, lower_bound timestamptz, upper_bound timestamptz, kind text, leaves int, row_estimate bigint,
  total_bytes bigint, refusal text
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
  perform strata.require_set(old_weeks.set_name);
  perform strata.require_months(old_weeks.months);
  return query
    select w.partition, coalesce(strata.week_key(w.lower_bound), w.partition_name), w.lower_bound, w.upper_bound, w.kind, w.leaves, w.row_estimate,
           w.total_bytes, (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(old_weeks.set_name, w.partition) o where o.concerns = 'week' limit 1)
      from strata.week_info(old_weeks.set_name) w
     where w.kind <> 'consolidated'
       and (w.upper_bound is null or w.upper_bound <= least(now(), now() - make_interval(months => old_weeks.months)))
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.old_weeks(text, int) is
  'The partitions of a set that ended at least that many months ago and are not consolidated, each with why it cannot be, or null. A partition without bounds is among them, with its advice.';
--! EndIncluded functions/old_weeks.sql
--! Included functions/consolidation_status.sql
create or replace function strata.consolidation_status(set_name text)
returns table (
  week_key text, week_start timestamptz, week_end timestamptz, partition_type text, partition_count int, row_count bigint,
  total_size text, total_bytes bigint, due boolean, advice text
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
  s strata.partition_sets := strata.require_set(consolidation_status.set_name);
begin
  return query
    select coalesce(strata.week_key(w.lower_bound), w.partition_name), w.lower_bound, w.upper_bound, strata.partition_type(w.kind), greatest(w.leaves, 1),
           w.row_estimate, pg_size_pretty(w.total_bytes), w.total_bytes,
           w.kind in ('hash', 'list') and coalesce(w.upper_bound <= now() - s.consolidate_after, false),
           case when w.kind <> 'consolidated' then (select o.obstacle || '. ' || o.remedy from strata.consolidation_obstacles(s.set_name, w.partition) o where o.concerns = 'week' limit 1) end
      from strata.week_info(s.set_name) w
     order by w.lower_bound nulls last;
end
$$;

comment on function strata.consolidation_status(text) is
  'Every week of a set: whether it is partitioned or consolidated, its partitions and size, whether it is due by the set''s consolidate_after, and what keeps it from being consolidated. row_count is as of the last ANALYZE.';
--! EndIncluded functions/consolidation_status.sql
--! Included views/balance_history.sql
create or replace view strata.balance_history as
select account_address, asset_id, "timestamp", balance, change_count, false as opening
  from strata.account_balances
 where "timestamp" >= (select s.opened_before from strata.balance_status s)
union all
select account_address, asset_id, "timestamp", balance, 0, true from strata.account_balances_opening;

comment on view strata.balance_history is
  'Every stored balance of a key in time, begun with the opening row that retention carried forward (opening = true). Weeks that a retention is about to detach are left out from the moment their opening rows are there.';
--! EndIncluded views/balance_history.sql
--! Included functions/fill_week_partition.sql
create or replace function strata.fill_week_partition(week_start timestamptz, remainder int) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
set maintenance_work_mem = '256MB'
-- Most keys of the state take part: reading it whole beats a look-up per key.
set enable_nestloop = off
as $$
declare
  lower_bound timestamptz := strata.week_start(week_start);
  upper_bound timestamptz := strata.week_start(week_start) + interval '168 hours';
  target      record;
  changes     text;
  own         text;
  state       text;
  step        text;
  behind      boolean;
  filled      regclass;
  folded      bigint;
begin
  select l.* into target from strata.week_leaves('account_balances', lower_bound) l where l.remainder = fill_week_partition.remainder;
  if target.leaf is null then
    raise exception 'the week of % has no hash partition %', lower_bound, remainder
      using errcode = 'undefined_table', hint = 'Call ensure_weeks() first; a consolidated week takes fold_changes().';
  end if;
  -- The state has four hash partitions; where the week has as many, each fold locks its own.
  perform strata.lock_fold(case when target.modulus = 4 then remainder end);
  perform strata.heal_state();
  own := format('satisfies_hash_partition(%s, %s, %s, account_address)',
    case when target.modulus = 4 then 'strata.account_balances_current'::regclass::oid else target.week::oid end, target.modulus, remainder);

  select coalesce(min(i.inhrelid::regclass::text), 'strata.account_balances_current') into state
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = 'strata.account_balances_current'::regclass
     and pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES WITH (modulus %s, remainder %s)', target.modulus, remainder);

  -- Asked of the state, which knows the newest row of each key, and not of the week itself: a lock on the week, shared by two
  -- that fill their partitions at once, would keep both from putting theirs in place.
  execute format($check$
    select exists (
      select from %3$s s join strata.assets a on a.asset_id = s.asset_id and not a.observed
       where s."timestamp" >= %1$L and %2$s)
  $check$, lower_bound, case when state = 'strata.account_balances_current' then own else 'true' end, state) into behind;
  if behind then
    raise exception 'there are balances at or behind the week of % already', lower_bound
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Whole weeks are folded in order into empty weeks; fold_changes() folds into what is there.';
  end if;

  -- Changes that are cut like the balances are read from one leaf, others by their hash.
  select format('%s c', l.leaf) into changes
    from strata.week_leaves('balance_changes', lower_bound) l
   where l.modulus = target.modulus and l.remainder = fill_week_partition.remainder;
  changes := coalesce(changes, format(
    'strata.balance_changes c where c.block_time >= %1$L and c.block_time < %2$L and %3$s', lower_bound, upper_bound, own));

  -- One grain for all assets, the usual case, need not be looked up change by change.
  select case when count(distinct a.grain) = 1 then format('interval %L', '1 ' || min(a.grain))
              else '(select case a.grain when ''hour'' then interval ''1 hour'' else interval ''1 day'' end from strata.assets a where a.asset_id = c.asset_id)' end
    into step from strata.assets a where not a.observed;

  filled := strata.open_fresh_leaf(target.leaf);
  -- One sort and one window: the last change of a period has its balance, and its place among its peers is their number.
  execute format($fold$
    insert into %1$s (account_address, asset_id, "timestamp", balance, change_count)
    select p.account_address, p.asset_id, p.period, coalesce(s.balance, 0) + p.so_far, p.change_count
      from (
        select c.account_address, c.asset_id, c.period, sum(c.delta) over so_far as so_far,
               (row_number() over so_far - rank() over so_far)::int + 1 as change_count, lead(c.period) over so_far as next_period
          from (select c.account_address, c.asset_id, date_bin(%4$s, c.block_time, timestamptz '1970-01-01 00:00:00+00') as period, c.delta
                  from %2$s) c
        window so_far as (partition by c.account_address, c.asset_id order by c.period rows unbounded preceding)
      ) p
      left join %3$s s on s.account_address = p.account_address and s.asset_id = p.asset_id
     where p.next_period is distinct from p.period
     order by p.account_address, p.asset_id, p.period
  $fold$, filled, changes, state, step);
  get diagnostics folded = row_count;
  if filled <> target.leaf then
    perform strata.build_indexes_like(target.leaf, filled);
    execute format('analyze %s (account_address)', filled);
  end if;

  perform strata.advance_state(filled, state::regclass);
  return folded;
end
$$;

comment on function strata.fill_week_partition(timestamptz, int) is
  'The first half of fold_week_partition(): balances of one hash partition of the week, in a table beside the set with all its indexes, and the state after them; returns the balance rows. Where the partition has rows already (snapshots), they go straight into it.';
--! EndIncluded functions/fill_week_partition.sql
--! Included functions/place_week_partition.sql
create or replace function strata.place_week_partition(week_start timestamptz, remainder int) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  place       record;
  schema_name name;
  leaf_name   name;
  fresh       regclass;
  index_name  name;
begin
  select l.* into strict place
    from strata.week_leaves('account_balances', strata.week_start(week_start)) l where l.remainder = place_week_partition.remainder;
  select n.nspname, c.relname into strict schema_name, leaf_name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = place.leaf;
  fresh := to_regclass(format('%I.%I', schema_name, 'fresh_' || place.leaf::oid));
  if fresh is null then
    return;
  end if;
  -- Whoever checks a hash holds the week until commit: one after the other, or two would wait for each other.
  perform pg_advisory_xact_lock(strata.advisory_key('place ' || place.week::oid));
  -- Proved before the week is locked, so that ATTACH need not scan.
  execute format('alter table %s add constraint fresh_hash check (satisfies_hash_partition(%s, %s, %s, account_address))',
    fresh, place.week::oid, place.modulus, place.remainder);
  execute format('alter table %s detach partition %s', place.week, place.leaf);
  execute format('drop table %s', place.leaf);
  for index_name in select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = fresh and c.relname like 'fresh%' loop
    execute format('alter index %I.%I rename to %I', schema_name, index_name, replace(index_name, 'fresh_' || place.leaf::oid, leaf_name));
  end loop;
  execute format('alter table %s rename to %I', fresh, leaf_name);
  execute format('alter table %s attach partition %s for values with (modulus %s, remainder %s)',
    place.week, fresh, place.modulus, place.remainder);
  execute format('alter table %s drop constraint fresh_hash', fresh);
end
$$;

comment on function strata.place_week_partition(timestamptz, int) is
  'The second half of fold_week_partition(): puts the table that was filled beside the set into the place of the empty partition, without a scan.';
--! EndIncluded functions/place_week_partition.sql
--! Included functions/advance_state.sql
create or replace function strata.advance_state(balances regclass, state regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set work_mem = '256MB'
-- The primary key, read backwards, has the newest row of each key first; to sort all rows again would take three times as long.
set enable_sort = off
set enable_mergejoin = off
as $$
begin
  execute format($state$
    with newest as materialized (
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from %1$s where change_count > 0
       order by account_address desc, asset_id desc, "timestamp" desc
    ), known as (
      update %2$s s set balance = n.balance, "timestamp" = n."timestamp"
        from newest n where s.account_address = n.account_address and s.asset_id = n.asset_id
      returning s.account_address, s.asset_id
    )
    insert into %2$s (account_address, asset_id, balance, "timestamp")
    select n.account_address, n.asset_id, n.balance, n."timestamp"
      from newest n left join known k on k.account_address = n.account_address and k.asset_id = n.asset_id
     where k.asset_id is null
     order by n.account_address, n.asset_id
  $state$, balances, state);
end
$$;

comment on function strata.advance_state(regclass, regclass) is
  'Brings the state (or one partition of it) to the newest rows of a table of balances that are newer than all it knows of their keys.';
--! EndIncluded functions/advance_state.sql
--! Included functions/stage_changes.sql
create or replace function strata.stage_changes(source_id smallint, from_block bigint, to_block bigint, hash_partition int default null) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  grain    text;
  earliest timestamptz;
  latest   timestamptz;
  unknown  bigint;
begin
  select st.grain into strict grain
    from strata.sources src join strata.streams st on st.stream = src.stream where src.source_id = stage_changes.source_id;
  select min(b.min_time), max(b.max_time) into earliest, latest
    from strata.stream_batches b
   where b.source_id = stage_changes.source_id and b.end_block >= from_block and b.start_block <= to_block;
  perform strata.open_deltas();
  if earliest is null then
    return;
  end if;
  -- Literal times: the ledger knows when the rows of these blocks are, so that other weeks are not even planned for.
  execute format($stage$
    insert into pg_temp.balance_deltas (account_address, asset_id, period, delta, change_count)
    select account_address, asset_id, date_bin(interval '1 %4$s', block_time, timestamptz '1970-01-01 00:00:00+00'), sum(delta), count(*)
      from strata.balance_changes
     where source_id = %1$s and block_num between %2$s and %3$s and block_time between %5$L and %6$L
       and (%7$L is null or satisfies_hash_partition('strata.account_balances_current'::regclass, 4, %7$L, account_address))
     group by 1, 2, 3
  $stage$, source_id, from_block, to_block, grain, earliest, latest, hash_partition);

  -- A balance of nothing that has a name is shown by no view and checked by no sum.
  select d.asset_id into unknown
    from (select distinct b.asset_id from pg_temp.balance_deltas b) d
   where not exists (select from strata.assets a where a.asset_id = d.asset_id) limit 1;
  if unknown is not null then
    raise exception 'changes of blocks % to % are in asset %, which strata.assets does not have', from_block, to_block, unknown
      using errcode = 'foreign_key_violation',
            hint = 'Insert it there: its id is strata.asset_id(network, standard, asset_key, token_id). Then fold again.';
  end if;
end
$$;

comment on function strata.stage_changes(smallint, bigint, bigint, int) is
  'Stages the stored changes of a source''s blocks (both inclusive), of all accounts or of one hash partition of the state, for fold_deltas().';
--! EndIncluded functions/stage_changes.sql
--! Included functions/find_late_priors.sql
create or replace function strata.find_late_priors(earliest timestamptz, latest timestamptz, opened timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  span       interval := '28 days';
  until      timestamptz;
  since      timestamptz;
  first_week timestamptz;
begin
  -- What lies before the rows that retention has left needs no row of its own; it still adds to the later ones.
  insert into pg_temp.late_periods (account_address, asset_id, period, change_count, running, running_opened, next_period, stored)
  select account_address, asset_id, period, change_count, sum(delta) over key,
         coalesce(sum(delta) filter (where period < opened) over key, 0), lead(period) over key, period < opened
    from pg_temp.late_deltas
  window key as (partition by account_address, asset_id order by period);

  -- Most keys have a row within a month; for the others twice as far each time, because to plan for years of weeks costs
  -- more than to look into the few that are needed.
  since := greatest(opened, strata.week_start(earliest) - span);
  until := latest + interval '1 microsecond';
  while exists (select from pg_temp.late_periods where not stored and prior is null) loop
    if until <= latest then
      first_week := coalesce(first_week, (select min(w.lower_bound) from strata.set_partitions('account_balances') w), 'infinity');
      exit when until <= greatest(opened, first_week);
    end if;
    execute format($prior$
      update pg_temp.late_periods t set prior = found.balance, stored = found."timestamp" = t.period
        from (
          select p.ctid as place, r.balance, r."timestamp"
            from pg_temp.late_periods p
           cross join lateral (
             select b.balance, b."timestamp" from strata.account_balances b
              where b.account_address = p.account_address and b.asset_id = p.asset_id and b."timestamp" <= p.period
                and b."timestamp" >= %1$L and b."timestamp" < %2$L
              order by b."timestamp" desc limit 1
           ) r
           where not p.stored and p.prior is null
        ) found
       where t.ctid = found.place
    $prior$, since, until);
    until := since;
    span := 2 * span;
    since := greatest(opened, since - span);
  end loop;
end
$$;

comment on function strata.find_late_priors(timestamptz, timestamptz, timestamptz) is
  'The part of fold_late_deltas() that lists the touched periods in pg_temp.late_periods, says which have a row already, and finds the balance of the last row before each of the others.';
--! EndIncluded functions/find_late_priors.sql
--! Included functions/fold_late_rows.sql
create or replace function strata.fold_late_rows(earliest timestamptz, until timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set enable_hashjoin = off
set enable_nestloop = on
as $$
declare
  walked text := '';
  dense  boolean;
begin
  -- Since PostgreSQL 17 a list of keys takes one walk along an index, at about the fortieth part of a look-up per row passed:
  -- for many keys in small weeks that is half the time. Before, each pair of the two lists would be looked up.
  select sum(pg_relation_size(t.relid)) / 100 < 40 * count(distinct w.partition)
                                                * (select count(*) from (select distinct account_address, asset_id from pg_temp.late_periods) k)
    into dense
    from strata.set_partitions('account_balances') w cross join lateral pg_partition_tree(w.partition) t
   where w.upper_bound > earliest and w.lower_bound < until;
  if dense and current_setting('server_version_num')::int >= 170000 then
    walked := 'and b.account_address = any ((select array_agg(distinct account_address) from pg_temp.late_periods)::bytea[])
       and b.asset_id = any ((select array_agg(distinct asset_id) from pg_temp.late_periods)::bigint[])';
    perform set_config('enable_hashjoin', 'on', true), set_config('enable_nestloop', 'off', true);
  end if;

  -- The bounds are literals, so that the weeks before the earliest period are pruned when the statement is planned.
  execute format($fold$
    with late as materialized (
      select * from pg_temp.late_periods order by account_address, asset_id, period
    )
    update strata.account_balances b
       set balance = b.balance + l.running,
           change_count = b.change_count + case when b."timestamp" = l.period then l.change_count else 0 end
      from late l
     where b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" >= %1$L and b."timestamp" >= l.period
       and (l.next_period is null or b."timestamp" < l.next_period) and b."timestamp" < %2$L %3$s
  $fold$, earliest, until, walked);
end
$$;

comment on function strata.fold_late_rows(timestamptz, timestamptz) is
  'The part of fold_late_deltas() that adds to the rows from the first touched period of a key on what lies at or before them.';
--! EndIncluded functions/fold_late_rows.sql
--! Included functions/drop_emptied_openings.sql
create or replace function strata.drop_emptied_openings(opened timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set enable_nestloop = on
as $$
declare
  emptied record;
  empty   boolean;
begin
  -- An opening row may stand for changes that were dropped: then it stays, as 0.
  if (select s.changes_from from strata.balance_status s) > '-infinity' then
    return;
  end if;
  for emptied in
    select o.account_address, o.asset_id
      from (select account_address, asset_id from pg_temp.late_deltas
             where period < opened group by 1, 2 having min(change_count) < 0) l
      join strata.account_balances_opening o
        on o.account_address = l.account_address and o.asset_id = l.asset_id and o.balance = 0
  loop
    -- Literals, so that one hash partition of each week is planned for.
    execute format('select not exists (select from strata.balance_changes where account_address = %L and asset_id = %s and block_time < %L)',
      emptied.account_address, emptied.asset_id, opened) into empty;
    if empty then
      delete from strata.account_balances_opening o
       where o.account_address = emptied.account_address and o.asset_id = emptied.asset_id;
    end if;
  end loop;
end
$$;

comment on function strata.drop_emptied_openings(timestamptz) is
  'The part of fold_late_deltas() for changes taken back from behind the retained rows: opening rows that lost their last change go.';
--! EndIncluded functions/drop_emptied_openings.sql
--! Included functions/fold_late_deltas.sql
create or replace function strata.fold_late_deltas(until timestamptz default 'infinity') returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  earliest timestamptz;
  latest   timestamptz;
  opened   timestamptz := (select s.opened_before from strata.balance_status s);
  undoable bigint;
begin
  select greatest(min(period), opened), greatest(max(period), opened) into earliest, latest from pg_temp.late_deltas;

  -- What is earlier than the rows that retention has left goes into the opening balance; while those rows can be put
  -- back, it is also kept by period.
  if exists (select from pg_temp.late_deltas where period < opened) then
    select max(r.retention_id) into undoable
      from strata.retentions r where r.set_name = 'account_balances' and r.undone_at is null and r.dropped_at is null;
  end if;
  if undoable is not null then
    insert into strata.held_openings (retention_id, account_address, asset_id, balance, "timestamp")
    select undoable, l.account_address, l.asset_id, o.balance, o."timestamp"
      from (select distinct account_address, asset_id from pg_temp.late_deltas where period < opened) l
      left join strata.account_balances_opening o on o.account_address = l.account_address and o.asset_id = l.asset_id
    on conflict do nothing;
    insert into strata.held_deltas as h (retention_id, account_address, asset_id, period, delta, change_count)
    select undoable, account_address, asset_id, period, delta, change_count from pg_temp.late_deltas where period < opened
    on conflict (retention_id, account_address, asset_id, period) do update
      set delta = h.delta + excluded.delta, change_count = h.change_count + excluded.change_count;
  end if;
  insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
  select account_address, asset_id, sum(delta), max(period)
    from pg_temp.late_deltas where period < opened group by account_address, asset_id
   order by account_address, asset_id
  on conflict (account_address, asset_id) do update
    set balance = o.balance + excluded.balance, "timestamp" = greatest(o."timestamp", excluded."timestamp");

  perform strata.find_late_priors(earliest, latest, opened);

  perform strata.fold_late_rows(earliest, until);

  -- Only now, so that rows from here on are not raised twice: periods without a row get one, seeded from the last row before.
  insert into strata.account_balances (account_address, asset_id, "timestamp", balance, change_count)
  select l.account_address, l.asset_id, l.period,
         coalesce(l.prior + l.running, opening.balance + l.running - l.running_opened, l.running), l.change_count
    from pg_temp.late_periods l
    left join strata.account_balances_opening opening
      on opening.account_address = l.account_address and opening.asset_id = l.asset_id
   where not l.stored
   order by l.account_address, l.asset_id, l.period;

  if exists (select from pg_temp.late_deltas where change_count < 0) then
    perform strata.drop_emptied_periods(earliest, latest);
    perform strata.drop_emptied_openings(opened);
  end if;
  delete from pg_temp.late_periods;
  perform strata.fold_late_state();
end
$$;

comment on function strata.fold_late_deltas(timestamptz) is
  'The part of fold_deltas() for keys whose history is touched: late changes and changes taken back. Cost follows the rows behind the earliest touched period of those keys. Rows from until on are left alone.';
--! EndIncluded functions/fold_late_deltas.sql
--! Included functions/carry_forward_openings.sql
create or replace function strata.carry_forward_openings(cutoff timestamptz, retention_id bigint default null) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '256MB'
as $$
declare
  keys bigint;
begin
  perform strata.lock_fold();
  execute format($carry$
    with carried as materialized (
      -- The primary keys of the weeks, read backwards and merged, have the newest row of each key first: nothing is sorted.
      select distinct on (account_address, asset_id) account_address, asset_id, balance, "timestamp"
        from strata.account_balances where "timestamp" < %1$L and "timestamp" >= %2$L
       order by account_address desc, asset_id desc, "timestamp" desc
    ), held as (
      insert into strata.held_openings (retention_id, account_address, asset_id, balance, "timestamp")
      select %3$L, c.account_address, c.asset_id, o.balance, o."timestamp"
        from carried c
        left join strata.account_balances_opening o on o.account_address = c.account_address and o.asset_id = c.asset_id
       where %3$L is not null
       order by c.account_address, c.asset_id
    )
    insert into strata.account_balances_opening as o (account_address, asset_id, balance, "timestamp")
    select account_address, asset_id, balance, "timestamp" from carried
     order by account_address, asset_id
    on conflict (account_address, asset_id) do update
      set balance = excluded.balance, "timestamp" = excluded."timestamp"
      where o."timestamp" <= excluded."timestamp"
  $carry$, cutoff, (select s.opened_before from strata.balance_status s), retention_id);
  get diagnostics keys = row_count;
  update strata.balance_status set opened_before = greatest(opened_before, cutoff);
  return keys;
end
$$;

comment on function strata.carry_forward_openings(timestamptz, bigint) is
  'Writes the balance of every key at the cutoff into account_balances_opening; returns the keys written. Retention calls it before it takes the weeks out, and has the rows it writes over kept for its undo. Rows before the cutoff are out of the reckoning from its commit on, attached or not.';
--! EndIncluded functions/carry_forward_openings.sql
--! Included views/stream_status.sql
create or replace view strata.stream_status as
select coalesce(p.stream, h.stream) as stream, p.network, p.load, p.target,
       case when h.state <> 'stopped' and h.updated_at < now() - interval '2 minutes' then 'lost' else h.state end as state,
       p.position, p.hash, p.block_time,
       case when h.heads ? p.network then greatest((h.heads ->> p.network)::bigint, p.position) end as head,
       case when h.heads ? p.network then greatest((h.heads ->> p.network)::bigint - p.position, 0) end as lag_blocks,
       extract(epoch from now() - p.block_time)::double precision as lag_seconds,
       p.batches, p.row_count, p.quarantined, p.unmatched, p.last_commit,
       recent.row_count / 60.0::double precision as rows_per_second,
       recent.blocks / 60.0::double precision as blocks_per_second,
       gaps.gaps, gaps.gap_blocks,
       h.failures, h.retries, h.next_try_at, h.last_error, h.breaker, h.rate_delay_ms, h.updated_at as seen_at, h.host, h.pid,
       h.started_at, h.work, h.reorgs,
       case when h.catch_up ->> 'network' = p.network and h.state = 'running' then h.catch_up end as catch_up
  from strata.stream_positions p
  full join strata.stream_health h on h.stream = p.stream
  -- The newest thousand ranges hold the last minute of all but the smallest batches.
  left join lateral (
    select coalesce(sum(b.row_count), 0)::double precision as row_count,
           coalesce(sum(b.end_block - b.start_block + 1), 0)::double precision as blocks
      from (select row_count, start_block, end_block, committed_at from strata.stream_batches
             where source_id = p.source_id order by start_block desc limit 1000) b
     where b.committed_at > now() - interval '1 minute'
  ) recent on p.source_id is not null
  left join lateral (
    select count(*) as gaps, coalesce(sum(b.start_block - b.reached - 1), 0)::bigint as gap_blocks
      from (select start_block,
                   max(end_block) over (order by start_block rows between unbounded preceding and 1 preceding) as reached
              from strata.stream_batches where source_id = p.source_id) b
     where b.start_block > b.reached + 1
  ) gaps on p.source_id is not null;

comment on view strata.stream_status is 'Each stream and network: position, head, lag, rate of the last minute, gaps, what its process said last, and what its workers do. lag_seconds is the age of the newest loaded block by the chain''s own time';
--! EndIncluded views/stream_status.sql
--! Included functions/drop_emptied_periods.sql
create or replace function strata.drop_emptied_periods(earliest timestamptz, latest timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  excess record;
begin
  -- Whatever counts the planner has seen, it must not believe that next to no row is empty, and read all rows of the
  -- periods once for each delta: that is what the case expressions are for. Each delta looks for its own row by its key.
  execute format($fold$
    delete from strata.account_balances b
     using pg_temp.late_deltas l
     where l.change_count < 0 and b.account_address = l.account_address and b.asset_id = l.asset_id
       and b."timestamp" = l.period and b."timestamp" between %1$L and %2$L
       and case when b.change_count = 0 then true end
  $fold$, earliest, latest);

  execute format($fold$
    select b.account_address, b.asset_id, b."timestamp"
      from pg_temp.late_deltas l
      join strata.account_balances b
        on b.account_address = l.account_address and b.asset_id = l.asset_id and b."timestamp" = l.period
     where l.change_count < 0 and b."timestamp" between %1$L and %2$L
       and case when b.change_count < 0 then true end limit 1
  $fold$, earliest, latest) into excess;
  if excess.asset_id is not null then
    raise exception 'more changes were taken back than folded: account %, asset %, period %',
      strata.account_text(excess.account_address), excess.asset_id, excess."timestamp"
      using errcode = 'integrity_constraint_violation', hint = 'Run pgstrata verify, then pgstrata rebuild for the keys it names.';
  end if;
end
$$;

comment on function strata.drop_emptied_periods(timestamptz, timestamptz) is
  'The part of fold_late_deltas() for changes taken back: rows that lost their last change go; a row that would owe changes is an error.';
--! EndIncluded functions/drop_emptied_periods.sql
--! Included functions/take_back_changes.sql
create or replace function strata.take_back_changes(source_id smallint, from_block bigint, to_block bigint, min_time timestamptz) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A deep fork of a busy chain is sorted and grouped in memory.
set work_mem = '64MB'
as $$
declare
  taken bigint;
begin
  if min_time < (select s.retained_from from strata.partition_sets s where s.set_name = 'balance_changes') then
    raise exception 'a reorg reaches back to balance changes of %, which are no longer retained', min_time
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Undo the retention of balance_changes, and retain more weeks of it than reorgs are deep.';
  end if;
  perform strata.open_deltas();
  -- The literal time prunes the weeks before the fork. What of this was folded is decided under the lock of the fold, by
  -- stage_taken_back(): taken here already, that lock would be held while other rows are written, and deadlock with them.
  execute format($take$
    with gone as (
      delete from strata.balance_changes c
       where c.source_id = %1$s and c.block_num >= %2$s and (%3$L is null or c.block_num <= %3$L)
         and c.block_time >= %4$L
      returning c.account_address, c.asset_id, c.block_time, c.block_num, c.delta
    ), kept as (
      insert into pg_temp.taken_changes (source_id, account_address, asset_id, period, block_num, delta, change_count)
      select %1$s, g.account_address, g.asset_id, strata.period_start(st.grain, g.block_time), g.block_num, -sum(g.delta), -count(*)
        from gone g
        join strata.sources src on src.source_id = %1$s
        join strata.streams st on st.stream = src.stream
       group by 2, 3, 4, 5
    )
    select count(*) from gone
  $take$, source_id, from_block, to_block, coalesce(min_time, '-infinity')) into taken;
  insert into pg_temp.taken_blocks values (take_back_changes.source_id, take_back_changes.from_block, take_back_changes.to_block);
  return taken;
end
$$;

comment on function strata.take_back_changes(smallint, bigint, bigint, timestamptz) is
  'Deletes a source''s changes of blocks from_block to to_block (both inclusive; null is open) and keeps them for fold_deltas(), which takes those that were folded back from the balances; call it before the commit. No change of these blocks may be earlier than min_time. Returns the changes deleted.';
--! EndIncluded functions/take_back_changes.sql
--! Included analytics/ratio.sql
create or replace function strata.ratio(part numeric, whole numeric, digits int default 18) returns numeric
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
-- Powers of ten by their text: power() loses digits of small ones before PostgreSQL 16.
return div(part * ('1e' || digits::text)::numeric, nullif(whole, 0)) * ('1e-' || digits::text)::numeric;

comment on function strata.ratio(numeric, numeric, int) is
  'part / whole with so many decimals, cut off and not rounded: the same digits for the same numbers, however large. Null where whole is 0.';
--! EndIncluded analytics/ratio.sql
--! Included analytics/require_retained.sql
create or replace function strata.require_retained(what text, since timestamptz) returns void
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  floor timestamptz := (
    select case what when 'balances' then s.opened_before when 'changes' then s.changes_from else s.observations_from end
      from strata.balance_status s);
begin
  if since is null then
    raise exception 'the instant to begin with is missing' using errcode = 'null_value_not_allowed';
  end if;
  if since < floor then
    raise exception '% before % were dropped by retention, and % is earlier', what, floor, since
      using errcode = 'datetime_field_overflow', hint = format('Ask from %s on.', floor);
  end if;
end
$$;

comment on function strata.require_retained(text, timestamptz) is
  'Refuses an instant for which balances, changes or snapshots are no longer retained, and says from when on they are.';
--! EndIncluded analytics/require_retained.sql
--! Included analytics/require_asset.sql
create or replace function strata.require_asset(asset bigint) returns bigint
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if not exists (select from strata.assets a where a.asset_id = asset) then
    raise exception 'there is no asset %', coalesce(asset::text, 'null')
      using errcode = 'undefined_object', hint = 'Assets and their ids are the rows of strata.assets.';
  end if;
  return asset;
end
$$;

comment on function strata.require_asset(bigint) is 'The asset, or an error that says where assets are listed.';
--! EndIncluded analytics/require_asset.sql
--! Included analytics/scale_of.sql
create or replace function strata.scale_of(asset bigint) returns numeric
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  -- By its text: power() loses digits of small powers before PostgreSQL 16.
  select ('1e-' || coalesce((select a.decimals from strata.assets a where a.asset_id = asset), 0)::text)::numeric;
end;

comment on function strata.scale_of(bigint) is
  'What a balance of the asset is multiplied with to be an amount in whole units: 10 to the power of its decimals, inverted; 1 while they are unknown.';
--! EndIncluded analytics/scale_of.sql
--! Included analytics/periods.sql
create or replace function strata.periods(unit text, from_time timestamptz, to_time timestamptz, asset bigint default null)
returns table (period timestamptz, ends timestamptz)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  first timestamptz;
  step  interval := case unit when 'hour' then interval '1 hour' when 'day' then interval '1 day'
                              when 'week' then interval '7 days' when 'month' then interval '1 month' end;
begin
  if step is null then
    raise exception 'there is no period %', coalesce(quote_literal(unit), 'null')
      using errcode = 'invalid_parameter_value', hint = 'Take hour, day, week (Sunday to Sunday) or month.';
  end if;
  if from_time is null or to_time is null or not isfinite(from_time) or not isfinite(to_time) then
    raise exception 'a span of time needs a beginning and an end' using errcode = 'invalid_parameter_value',
      hint = 'Give two instants, such as 2026-01-01 and 2026-02-01.';
  end if;
  if from_time >= to_time then
    raise exception 'the span ends at %, which is not later than its beginning %', to_time, from_time
      using errcode = 'invalid_parameter_value', hint = 'Put the earlier instant first.';
  end if;
  if unit = 'hour' and exists (select from strata.assets a where a.asset_id = asset and a.grain = 'day') then
    raise exception 'the balances of asset % are kept by the day, not by the hour', asset
      using errcode = 'invalid_parameter_value', hint = 'Take day, week or month.';
  end if;
  first := case unit when 'week' then strata.week_start(from_time) else date_trunc(unit, from_time) end;
  return query select g, g + step from generate_series(first, to_time - interval '1 microsecond', step) g;
end
$$;

comment on function strata.periods(text, timestamptz, timestamptz, bigint) is
  'The hours, days, weeks (Sunday to Sunday) or months in UTC that a span touches, each whole: from the one that holds from_time to the one before to_time. Refuses hours for an asset that is kept by the day.';
--! EndIncluded analytics/periods.sql
--! Included analytics/period_expression.sql
create or replace function strata.period_expression(unit text, instant text) returns text
language plpgsql immutable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return case unit
    when 'hour' then format('date_bin(interval ''1 hour'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'day' then format('date_bin(interval ''1 day'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'week' then format('date_bin(interval ''7 days'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'month' then format('date_trunc(''month'', %s, ''UTC'')', instant)
  end;
end
$$;

comment on function strata.period_expression(text, text) is
  'SQL text of the start of the period (hour, day, week or month, UTC) that holds an instant, written out because a call per row would cost more than all the rest; see strata.periods().';
--! EndIncluded analytics/period_expression.sql
--! Included analytics/span_of.sql
create or replace function strata.span_of(unit text, from_time timestamptz, to_time timestamptz, asset bigint default null) returns tstzrange
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  perform strata.require_retained('balances', from_time);
  -- A first period that retention has cut begins where balances begin: at its end they are what they were.
  return (
    select tstzrange(greatest(min(p.period), s.opened_before), max(p.ends))
      from strata.periods(unit, from_time, to_time, asset) p, strata.balance_status s group by s.opened_before);
end
$$;

comment on function strata.span_of(text, timestamptz, timestamptz, bigint) is
  'The time that strata.periods() of a span covers, as far as balances are retained.';
--! EndIncluded analytics/span_of.sql
--! Included analytics/last_balance.sql
create or replace function strata.last_balance(
  account bytea, asset bigint, cut timestamptz, out balance numeric, out "timestamp" timestamptz
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
-- Planned for the values at hand: a plan for any account and any time would open every week.
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
  state  record;
  upper  timestamptz := cut;
  lower  timestamptz;
begin
  select c.balance, c."timestamp" into state
    from strata.account_balances_current c where c.account_address = account and c.asset_id = asset;
  if (state."timestamp" is null or state."timestamp" < cut) and not strata.state_is_stale() then
    balance := state.balance;
    "timestamp" := state."timestamp";
    return;
  end if;
  -- The week of that time, then ever longer strides back: to plan for years of weeks costs more than to look into the few
  -- that are needed.
  if cut < opened then
    opened := '-infinity';
  end if;
  for stride in 0..12 loop
    lower := greatest(opened, case
      when stride < 12 and isfinite(upper) then strata.week_start(upper - interval '1 microsecond') - interval '7 days' * (2 ^ stride - 1)
      else '-infinity' end);
    select b.balance, b."timestamp" into balance, "timestamp"
      from strata.account_balances b
     where b.account_address = account and b.asset_id = asset and b."timestamp" < upper and b."timestamp" >= lower
     order by b."timestamp" desc limit 1;
    if found then
      return;
    end if;
    exit when lower <= opened;
    upper := lower;
  end loop;
  select o.balance, o."timestamp" into balance, "timestamp"
    from strata.account_balances_opening o where o.account_address = account and o.asset_id = asset and o."timestamp" < cut;
end
$$;

comment on function strata.last_balance(bytea, bigint, timestamptz) is
  'The last balance row of a key before an instant, or the opening that retention carried forward; nulls where there is none. From the state where that is early enough, else week by week backwards: the cost does not grow with the history.';
--! EndIncluded analytics/last_balance.sql
--! Included functions/balance_at.sql
create or replace function strata.balance_at(account bytea, asset bigint, instant timestamptz) returns numeric
language plpgsql stable strict
set search_path = pg_catalog, strata, pg_temp
set plan_cache_mode = force_custom_plan
as $$
declare
  of_asset record;
  period   timestamptz;
  dropped  timestamptz;
  last     record;
  floor    timestamptz;
  latest   numeric;
  within   numeric := 0;
  changes  bigint := 0;
begin
  select a.grain, a.observed into of_asset from strata.assets a where a.asset_id = asset;
  period := strata.period_start(of_asset.grain, instant);
  select case when of_asset.observed then s.observations_from else s.changes_from end into dropped from strata.balance_status s;
  select l.balance, l."timestamp" into last from strata.last_balance(account, asset, instant + interval '1 microsecond') l;
  -- A late row may have made an old week anew, without the changes that were dropped with it.
  if period is null or dropped > period then
    return coalesce(last.balance, 0);  -- exact to the period, not to the instant
  end if;
  if of_asset.observed then
    select r.balance into latest from strata.snapshot_rows r
     where r.account_address = account and r.asset_id = asset and r.observed_at between period and instant
     order by r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc limit 1;
    if latest is not null then
      return latest;
    end if;
  else
    select coalesce(sum(c.delta), 0), count(*) into within, changes from strata.balance_changes c
     where c.account_address = account and c.asset_id = asset and c.block_time between period and instant;
  end if;
  if last."timestamp" = period then
    if changes = 0 then
      -- Either the period's changes all came later, or the week that held them is gone; rarely asked, for it looks at every week.
      select min(p.lower_bound) into floor
        from strata.set_partitions(case when of_asset.observed then 'snapshot_rows' else 'balance_changes' end) p;
      if floor is null or floor > period then
        return last.balance;
      end if;
    end if;
    select l.balance into last.balance from strata.last_balance(account, asset, period) l;
  end if;
  return coalesce(last.balance, 0) + within;
end
$$;

comment on function strata.balance_at(bytea, bigint, timestamptz) is
  'Balance of an account in an asset at an instant, its changes at that very instant included: the last period before, plus the changes since; of an observed balance the last snapshot. Where those changes or snapshots are no longer retained it is the balance at the end of the period.';
--! EndIncluded functions/balance_at.sql
--! Included analytics/account_keys.sql
create or replace function strata.account_keys(account bytea, asset bigint default null) returns setof bigint
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set plan_cache_mode = force_custom_plan
as $$
begin
  if not strata.state_is_stale() then
    return query select c.asset_id from strata.account_balances_current c
                  where c.account_address = account and (asset is null or c.asset_id = asset);
    return;
  end if;
  return query
    select distinct h.asset_id from strata.balance_history h
     where h.account_address = account and (asset is null or h.asset_id = asset);
end
$$;

comment on function strata.account_keys(bytea, bigint) is
  'The assets that an account has ever had a balance in (one of them, where it is given): from the state, or from history while the state is stale.';
--! EndIncluded analytics/account_keys.sql
--! Included analytics/balances_before.sql
create or replace function strata.balances_before(cut timestamptz, asset bigint default null)
returns table (account_address bytea, asset_id bigint, balance numeric, "timestamp" timestamptz)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  opened timestamptz := (select s.opened_before from strata.balance_status s);
  of_key text := 'k.account_address, k.asset_id, k.balance, k."timestamp"';
  of_asset text := coalesce(' and k.asset_id = ' || asset, '');
  -- Keys at rest since then are read from the state, and only the others from history.
  is_stale boolean := strata.state_is_stale();
begin
  perform strata.require_retained('balances', cut);
  if not is_stale then
    return query execute format('select %s from strata.account_balances_current k where k."timestamp" < %L%s', of_key, cut, of_asset);
    if not exists (select from strata.account_balances_current c where c."timestamp" >= cut and (asset is null or c.asset_id = asset)) then
      return;
    end if;
  end if;
  return query execute format($history$
    select distinct on (k.account_address, k.asset_id) %1$s
      from (
        select %1$s from strata.account_balances k where k."timestamp" >= %2$L and k."timestamp" < %3$L%4$s
        union all
        select %1$s from strata.account_balances_opening k where true%4$s
      ) k %5$s
     order by k.account_address, k.asset_id, k."timestamp" desc
  $history$, of_key, opened, cut, of_asset, case when not is_stale then format(
      'join strata.account_balances_current s on s.account_address = k.account_address and s.asset_id = k.asset_id and s."timestamp" >= %L', cut) end);
end
$$;

comment on function strata.balances_before(timestamptz, bigint) is
  'The last balance of every key (of one asset, or of all) in periods that begin before an instant, and the period it is from. Balances of zero are among them. Keys at rest since then come from the state, the others from the weeks before.';
--! EndIncluded analytics/balances_before.sql
--! Included analytics/balances_at.sql
create or replace function strata.balances_at(instant timestamptz default null, asset bigint default null, account bytea default null)
returns table (account_address bytea, asset_id bigint, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  kind   record;
  period timestamptz;
begin
  if account is not null then
    return query
      select account, k.asset_id, k.balance
        from (select a.asset_id, case when instant is null then (strata.last_balance(account, a.asset_id, 'infinity')).balance
                                      else strata.balance_at(account, a.asset_id, instant) end as balance
                from strata.account_keys(account, asset) a (asset_id)) k
       where k.balance <> 0;
    return;
  end if;
  if instant is null then
    return query select k.account_address, k.asset_id, k.balance from strata.balances_before('infinity', asset) k where k.balance <> 0;
    return;
  end if;
  -- Assets of one grain and kind at a time: they share their period, and what tells of the time since it began.
  for kind in
    select a.grain, a.observed, array_agg(a.asset_id) as assets, case when a.observed then s.observations_from else s.changes_from end as retained
      from strata.assets a, strata.balance_status s where asset is null or a.asset_id = asset group by 1, 2, 4
  loop
    period := strata.period_start(kind.grain, instant);
    if period < kind.retained then
      period := instant + interval '1 microsecond';  -- what happened since is gone: exact to the period, not to the instant
    end if;
    return query execute format($at$
      select account_address, asset_id, %1$s
        from (select b.account_address, b.asset_id, b.balance from strata.balances_before(%2$L, %3$L) b where b.asset_id = any (%4$L)) k
        full join (%5$s) since using (account_address, asset_id)
       where %1$s <> 0
    $at$, case when kind.observed then 'coalesce(since.balance, k.balance)' else 'coalesce(k.balance, 0) + coalesce(since.delta, 0)' end,
      period, asset, kind.assets, format(
        case when kind.observed then $snapshots$
          select distinct on (r.account_address, r.asset_id) r.account_address, r.asset_id, r.balance from strata.snapshot_rows r
           where r.observed_at between %L and %L and r.asset_id = any (%L)
           order by r.account_address, r.asset_id, r.observed_at desc, r.block_num desc, r.ordinal desc, r.source_id desc
        $snapshots$ else $changes$
          select c.account_address, c.asset_id, sum(c.delta) as delta from strata.balance_changes c
           where c.block_time between %L and %L and c.asset_id = any (%L) group by c.account_address, c.asset_id
        $changes$ end, period, instant, kind.assets));
  end loop;
end
$$;

comment on function strata.balances_at(timestamptz, bigint, bytea) is
  'Every balance but zeros as of an instant, as strata.balance_at() has it: of all accounts or one, in all assets or one. Without an instant the newest balances. Null and burn accounts are among them; see strata.holders_at().';
--! EndIncluded analytics/balances_at.sql
--! Included analytics/holders_at.sql
create or replace function strata.holders_at(asset bigint, instant timestamptz default null)
returns table (account_address bytea, balance numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return query
    select b.account_address, b.balance
      from strata.balances_at(instant, strata.require_asset(asset)) b
     where b.balance > 0 and not exists (select from strata.burn_accounts n where n.account_address = b.account_address);
end
$$;

comment on function strata.holders_at(bigint, timestamptz) is
  'Accounts with a positive balance of an asset as of an instant (or the newest), without the null and burn accounts.';
--! EndIncluded analytics/holders_at.sql
--! Included analytics/balance_steps.sql
create or replace function strata.balance_steps(
  from_time timestamptz, to_time timestamptz, unit text default 'hour', asset bigint default null, account bytea default null
)
returns table (
  account_address bytea, asset_id bigint, period timestamptz, "timestamp" timestamptz, until timestamptz, balance numeric, prior numeric, change_count int
)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
declare
  openings text := 'strata.balances_before(%L, %L)';
begin
  perform strata.require_retained('balances', from_time);
  if account is not null then
    openings := $opening$(
      select %3$L::bytea as account_address, a.asset_id, l.balance, l."timestamp"
        from strata.account_keys(%3$L, %2$L) a (asset_id), strata.last_balance(%3$L, a.asset_id, %1$L) l where l.balance is not null)$opening$;
  end if;
  return query execute format($steps$
    select k.account_address, k.asset_id, k.period, k."timestamp", lead(k."timestamp", 1, %1$L) over key, k.balance, lag(k.balance, 1, 0::numeric) over key, k.change_count
      from (
        select b.account_address, b.asset_id, %2$s as period, b."timestamp", b.balance, greatest(b.change_count, 1) as change_count
          from strata.account_balances b where b."timestamp" >= %3$L and b."timestamp" < %1$L%4$s
        union all
        select o.account_address, o.asset_id, null, %3$L, o.balance, 0 from %5$s o
      ) k
    window key as (partition by k.account_address, k.asset_id order by k."timestamp", k.period nulls first)
  $steps$, to_time, strata.period_expression(unit, 'b."timestamp"'), from_time,
    concat(' and b.asset_id = ' || asset, ' and b.account_address = ' || quote_literal(account)),
    format(openings, from_time, asset, account));
end
$$;

comment on function strata.balance_steps(timestamptz, timestamptz, text, bigint, bytea) is
  'The balance rows of a span of time, each with the balance before it (prior) and the instant until which it held, and the hour, day, week or month it is of. A key that had a balance before begins with a row at from_time whose period is null. Of one asset or account, or of all: linear in the rows of the span.';
--! EndIncluded analytics/balance_steps.sql
--! Included analytics/balance_rows.sql
create or replace function strata.balance_rows(from_time timestamptz, to_time timestamptz, unit text, asset bigint default null)
returns table (account_address bytea, period timestamptz, change_count bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
begin
  return query execute format($rows$
    select b.account_address, %s, sum(greatest(b.change_count, 1)) from strata.account_balances b
     where b."timestamp" >= %L and b."timestamp" < %L%s group by 1, 2
  $rows$, strata.period_expression(unit, 'b."timestamp"'), from_time, to_time, ' and b.asset_id = ' || asset);
end
$$;

comment on function strata.balance_rows(timestamptz, timestamptz, text, bigint) is
  'Which accounts had changes in which hour, day, week or month (UTC) of a span, and how many: one row each.';
--! EndIncluded analytics/balance_rows.sql
--! Included analytics/balance_movements.sql
create or replace function strata.balance_movements(
  from_time timestamptz, to_time timestamptz, unit text default 'day', asset bigint default null, account bytea default null
)
returns table (account_address bytea, asset_id bigint, period timestamptz, inflow numeric, outflow numeric, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
begin
  perform from strata.periods(unit, from_time, to_time, asset);
  if exists (select from strata.assets a where not a.observed and (asset is null or a.asset_id = asset)) then
    perform strata.require_retained('changes', from_time);
    return query execute format($changes$
      select c.account_address, c.asset_id, %s as period, coalesce(sum(c.delta) filter (where c.delta > 0), 0),
             coalesce(-sum(c.delta) filter (where c.delta < 0), 0), count(*)
        from strata.balance_changes c where c.block_time >= %L and c.block_time < %L%s group by 1, 2, 3
    $changes$, strata.period_expression(unit, 'c.block_time'), from_time, to_time,
      concat(' and c.asset_id = ' || asset, ' and c.account_address = ' || quote_literal(account)));
  end if;
  -- Observed balances have no changes: what moved is the difference of one balance to the next.
  if exists (select from strata.assets a where a.observed and (asset is null or a.asset_id = asset)) then
    return query
      select s.account_address, s.asset_id, s.period, sum(greatest(s.balance - s.prior, 0)), sum(greatest(s.prior - s.balance, 0)), count(*)
        from strata.balance_steps(from_time, to_time, unit, asset, account) s join strata.assets a on a.asset_id = s.asset_id
       where s.period is not null and a.observed group by 1, 2, 3;
  end if;
end
$$;

comment on function strata.balance_movements(timestamptz, timestamptz, text, bigint, bytea) is
  'What came in and went out of every account (or one), by asset and hour, day, week or month (UTC) of a span: from the changes, or for observed balances from one balance row to the next. changes counts those.';
--! EndIncluded analytics/balance_movements.sql
--! Included analytics/top_holders.sql
create or replace function strata.top_holders(asset bigint, instant timestamptz default null, holders int default 10)
returns table (rank bigint, account_address bytea, amount numeric, balance numeric, share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(asset);
begin
  return query
    select rank() over (order by h.balance desc), h.account_address, h.balance * scale, h.balance, strata.ratio(h.balance, h.total)
      from (select h.*, sum(h.balance) over () as total from strata.holders_at(asset, instant) h) h
     order by h.balance desc, h.account_address
     limit holders;
end
$$;

comment on function strata.top_holders(bigint, timestamptz, int) is
  'The accounts that hold most of an asset as of an instant (or the newest balances), without the null and burn accounts. share is that of what all holders have; equal balances share a rank.';
--! EndIncluded analytics/top_holders.sql
--! Included analytics/concentration.sql
create or replace function strata.concentration(asset bigint, instant timestamptz default null, top int default 10)
returns table (holders bigint, amount numeric, gini numeric, top_share numeric, palma numeric, nakamoto bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    with held as (
      -- Poorest first; richest and the running sum from the other end, so that what ties break is the same in both.
      select h.balance, row_number() over poorest as place, count(*) over () as holders, sum(h.balance) over () as total,
             sum(h.balance) over (order by h.balance desc, h.account_address desc rows unbounded preceding) as held_by_richer
        from strata.holders_at(asset, instant) h
      window poorest as (order by h.balance, h.account_address)
    )
    select count(*), coalesce(max(total), 0) * strata.scale_of(asset),
           strata.ratio(sum((2 * place - holders - 1) * balance), max(holders) * max(total)),
           strata.ratio(sum(balance) filter (where place > holders - top), max(total)),
           strata.ratio(sum(balance) filter (where place > holders - (holders + 9) / 10), sum(balance) filter (where place <= holders * 4 / 10)),
           count(*) filter (where (held_by_richer - balance) * 2 <= total)
      from held;
end
$$;

comment on function strata.concentration(bigint, timestamptz, int) is
  'How unevenly an asset is held as of an instant, null and burn accounts left out. gini: 0 when all hold alike, towards 1 when one holds all. top_share: what the top holders have of all. palma: what the richest tenth (rounded up) has over what the poorest four tenths (rounded down) have, null where those are nobody. nakamoto: how few accounts hold more than half.';
--! EndIncluded analytics/concentration.sql
--! Included analytics/size_bands.sql
create or replace function strata.size_bands(
  asset bigint, instant timestamptz default null, edges numeric[] default '{1,10,100,1000,10000,100000,1000000}'
)
returns table (band int, from_amount numeric, to_amount numeric, holders bigint, amount numeric, share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  scale  numeric := strata.scale_of(asset);
  sorted numeric[] := array(select distinct e from unnest(edges) e where e > 0 order by e);
begin
  return query
    with held as (
      select width_bucket(h.balance * scale, sorted) as band, count(*) as holders, sum(h.balance) as balance
        from strata.holders_at(asset, instant) h group by 1
    )
    select b, case when b = 0 then 0 else sorted[b] end, sorted[b + 1], coalesce(h.holders, 0), coalesce(h.balance, 0) * scale,
           strata.ratio(coalesce(h.balance, 0), (select sum(t.balance) from held t))
      from generate_series(0, cardinality(sorted)) b
      left join held h on h.band = b
     order by b;
end
$$;

comment on function strata.size_bands(bigint, timestamptz, numeric[]) is
  'Holders of an asset by the size of what they hold, as of an instant: a band from each edge (in whole units, itself included) to the next, one below the first and one above the last. Null and burn accounts are left out.';
--! EndIncluded analytics/size_bands.sql
--! Included analytics/balance_series.sql
create or replace function strata.balance_series(
  account bytea, asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, amount numeric, balance numeric, change_count bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(strata.require_asset(asset));
  span  tstzrange := strata.span_of(unit, from_time, to_time, asset);
begin
  return query
    with last as (
      -- The opening counts as the last row of a period before all.
      select distinct on (s.period) s.period, s.balance, sum(s.change_count) over (partition by s.period) as changes
        from strata.balance_steps(lower(span), upper(span), unit, asset, account) s
       order by s.period, s."timestamp" desc
    ), filled as (
      select p.period, coalesce(l.changes, 0) as changes, l.balance, count(l.balance) over (order by p.period) as known
        from strata.periods(unit, from_time, to_time, asset) p
        left join last l on l.period = p.period
    )
    select f.period, held.balance * scale, held.balance, f.changes
      from (
        select f.*, coalesce(first_value(f.balance) over (partition by f.known order by f.period),
                             (select l.balance from last l where l.period is null), 0) as forward
          from filled f
      ) f
     cross join lateral (select f.forward as balance) held
     order by f.period;
end
$$;

comment on function strata.balance_series(bytea, bigint, timestamptz, timestamptz, text) is
  'Balance of an account in an asset at the end of every hour, day, week or month (UTC) that a span touches; a period without a change has the balance of the one before. change_count is the changes (of an observed balance the rows) within the period.';
--! EndIncluded analytics/balance_series.sql
--! Included analytics/holders_over_time.sql
create or replace function strata.holders_over_time(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, entered bigint, left_again bigint, holders bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
begin
  return query
    with crossed as (
      -- Only where a balance crosses zero; the holders at the beginning crossed it in a period before all.
      select s.period, count(*) filter (where s.balance > 0) as entered, count(*) filter (where s.balance <= 0) as gone
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
       where (s.balance > 0) <> (s.prior > 0)
         and not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
       group by s.period
    )
    select p.period, coalesce(c.entered, 0), coalesce(c.gone, 0),
           (coalesce((select o.entered from crossed o where o.period is null), 0)
             + sum(coalesce(c.entered, 0) - coalesce(c.gone, 0)) over (order by p.period))::bigint
      from strata.periods(unit, from_time, to_time, asset) p
      left join crossed c on c.period = p.period
     order by p.period;
end
$$;

comment on function strata.holders_over_time(bigint, timestamptz, timestamptz, text) is
  'Holders of an asset at the end of every hour, day, week or month (UTC) that a span touches, and how often an account became one or ceased to be one within it. From the crossings of zero: the cost follows the asset''s changes, not its holders times the periods. Null and burn accounts are left out.';
--! EndIncluded analytics/holders_over_time.sql
--! Included analytics/cohorts.sql
create or replace function strata.cohorts(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'month'
)
returns table (cohort timestamptz, age bigint, period timestamptz, accounts bigint, active bigint, holding bigint, active_share numeric, holding_share numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
begin
  return query
    with steps as (
      select s.period, s.balance > 0 as holds, s.prior > 0 as held, s.account_address,
             min(s.period) over key as cohort, bool_or(s.period is null) over key as known_before
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
       where not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
      window key as (partition by s.account_address)
    ), counted as (
      select s.cohort, s.period, count(distinct s.account_address) as active,
             count(*) filter (where s.holds and not s.held) - count(*) filter (where s.held and not s.holds) as entered
        from steps s where not s.known_before group by s.cohort, s.period
    ), numbered as (
      select p.period, row_number() over (order by p.period) as place from strata.periods(unit, from_time, to_time, asset) p
    ), cells as (
      select c.period as cohort, p.place - c.place as age, p.period, first.active as accounts, coalesce(k.active, 0) as active,
             (sum(coalesce(k.entered, 0)) over (partition by c.period order by p.period))::bigint as holding
        from numbered c
        join counted first on first.cohort = c.period and first.period = c.period
        join numbered p on p.place >= c.place
        left join counted k on k.cohort = c.period and k.period = p.period
    )
    select c.cohort, c.age, c.period, c.accounts, c.active, c.holding, strata.ratio(c.active, c.accounts), strata.ratio(c.holding, c.accounts)
      from cells c
     order by c.cohort, c.period;
end
$$;

comment on function strata.cohorts(bigint, timestamptz, timestamptz, text) is
  'Retention: accounts by the period in which an asset first reached or left them, and of each cohort, so many periods (age) later, how many were active (had a change) and how many held some at its end. Accounts that were there before the span belong to no cohort; null and burn accounts are left out.';
--! EndIncluded analytics/cohorts.sql
--! Included analytics/active_accounts.sql
create or replace function strata.active_accounts(
  from_time timestamptz, to_time timestamptz default now(), unit text default 'day', asset bigint default null
)
returns table (period timestamptz, active bigint, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  span tstzrange := strata.span_of(unit, from_time, to_time, asset);
begin
  return query
    with seen as (
      select b.period, count(distinct b.account_address) as active, sum(b.change_count)::bigint as changes
        from strata.balance_rows(lower(span), upper(span), unit, asset) b
       where not exists (select from strata.burn_accounts n where n.account_address = b.account_address)
       group by b.period
    )
    select p.period, coalesce(s.active, 0), coalesce(s.changes, 0)
      from strata.periods(unit, from_time, to_time, asset) p
      left join seen s on s.period = p.period
     order by p.period;
end
$$;

comment on function strata.active_accounts(timestamptz, timestamptz, text, bigint) is
  'Accounts with a change (for observed balances a row) in every hour, day, week or month (UTC) that a span touches, of one asset or of any, and the number of those changes. Null and burn accounts are left out.';
--! EndIncluded analytics/active_accounts.sql
--! Included analytics/asset_flows.sql
create or replace function strata.asset_flows(
  from_time timestamptz, to_time timestamptz default now(), unit text default 'day', asset bigint default null
)
returns table (period timestamptz, asset_id bigint, inflow numeric, outflow numeric, gross numeric, net numeric, accounts bigint, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    select m.period, m.asset_id, sum(m.inflow) * strata.scale_of(m.asset_id), sum(m.outflow) * strata.scale_of(m.asset_id),
           sum(m.inflow + m.outflow) * strata.scale_of(m.asset_id), sum(m.inflow - m.outflow) * strata.scale_of(m.asset_id),
           count(*), sum(m.changes)::bigint
      from strata.balance_movements(from_time, to_time, unit, asset) m
     where not exists (select from strata.burn_accounts n where n.account_address = m.account_address)
     group by m.period, m.asset_id
     order by m.period, m.asset_id;
end
$$;

comment on function strata.asset_flows(timestamptz, timestamptz, text, bigint) is
  'What came in and went out of all accounts but the null and burn ones, by asset and hour, day, week or month (UTC), in whole units: a transfer between two of them counts in both, so gross is twice what was transferred and net is what was minted less what was burned. Periods without a change have no row.';
--! EndIncluded analytics/asset_flows.sql
--! Included analytics/label_flows.sql
create or replace function strata.label_flows(
  labels text, label_column text, asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, label text, inflow numeric, outflow numeric, gross numeric, net numeric, accounts bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  known jsonb := (select l.columns from strata.labels l where l.label_name = labels);
begin
  if known is null then
    raise exception 'there are no labels %', coalesce(quote_literal(labels), 'null') using errcode = 'undefined_object',
      hint = coalesce('Take ' || (select string_agg(l.label_name, ' or ' order by l.label_name) from strata.labels l) || '.', 'Load some with `pgstrata labels add`.');
  end if;
  if not known @> jsonb_build_array(jsonb_build_object('name', label_column)) then
    raise exception 'labels % have no column %', labels, coalesce(quote_literal(label_column), 'null') using errcode = 'undefined_column',
      hint = coalesce('Take ' || (select string_agg(c ->> 'name', ' or ') from jsonb_array_elements(known) c) || '.', 'Load labels with more columns.');
  end if;
  return query execute format($flows$
    select m.period, l.%1$I::text, sum(m.inflow) * scale, sum(m.outflow) * scale, sum(m.inflow + m.outflow) * scale, sum(m.inflow - m.outflow) * scale, count(*)
      from strata.balance_movements(%2$L, %3$L, %4$L, %5$L) m
      left join strata.%6$I l on l.account_address = m.account_address
     cross join strata.scale_of(%5$L) scale
     where not exists (select from strata.burn_accounts n where n.account_address = m.account_address)
     group by m.period, l.%1$I::text, scale
     order by m.period, l.%1$I::text nulls last
  $flows$, label_column, from_time, to_time, unit, strata.require_asset(asset), 'labels_' || labels);
end
$$;

comment on function strata.label_flows(text, text, bigint, timestamptz, timestamptz, text) is
  'What came in and went out of the accounts of each label (a column of strata.labels_<labels>), by hour, day, week or month (UTC), in whole units of one asset. Accounts without a label have the label null; null and burn accounts are left out. Transfers within a label count in both its inflow and its outflow, net is free of them.';
--! EndIncluded analytics/label_flows.sql
--! Included analytics/supply.sql
create or replace function strata.supply(
  asset bigint, from_time timestamptz, to_time timestamptz default now(), unit text default 'day'
)
returns table (period timestamptz, supply numeric, minted numeric, burned numeric, circulating numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span   tstzrange := strata.span_of(unit, from_time, to_time, strata.require_asset(asset));
  scale  numeric := strata.scale_of(asset);
  -- Where every change has its counterpart the null account owes what exists: its balance alone tells of all others.
  closed boolean := (select a.zero_sum and not a.observed from strata.assets a where a.asset_id = asset);
  traced boolean := closed and lower(span) >= (select s.changes_from from strata.balance_status s);
begin
  return query
    with stepped as (
      select s.period, -coalesce(sum(s.balance - s.prior) filter (where n.mints), 0) as supply, -sum(s.balance - s.prior) as circulating
        from strata.burn_accounts n
       cross join lateral strata.balance_steps(lower(span), upper(span), unit, asset, n.account_address) s
       where closed group by s.period
      union all
      select s.period, coalesce(sum(s.balance - s.prior) filter (where n.mints is distinct from true), 0),
             coalesce(sum(s.balance - s.prior) filter (where n.mints is null), 0)
        from strata.balance_steps(lower(span), upper(span), unit, asset) s
        left join strata.burn_accounts n on n.account_address = s.account_address
       where not closed group by s.period
    ), moved as (
      select m.period, sum(m.outflow) as minted, sum(m.inflow) as burned
        from strata.burn_accounts n
       cross join lateral strata.balance_movements(lower(span), upper(span), unit, asset, n.account_address) m
       where traced and n.mints group by m.period
    )
    select p.period, (coalesce(o.supply, 0) + sum(coalesce(s.supply, 0)) over (order by p.period)) * scale,
           case when traced then coalesce(m.minted, 0) * scale end, case when traced then coalesce(m.burned, 0) * scale end,
           (coalesce(o.circulating, 0) + sum(coalesce(s.circulating, 0)) over (order by p.period)) * scale
      from strata.periods(unit, from_time, to_time, asset) p
      left join stepped o on o.period is null
      left join stepped s on s.period = p.period
      left join moved m on m.period = p.period
     order by p.period;
end
$$;

comment on function strata.supply(bigint, timestamptz, timestamptz, text) is
  'Supply of an asset at the end of every hour, day, week or month (UTC) that a span touches, what was minted and burned within it, and what circulates: the supply without what burn accounts hold. Mint and burn are transfers with the null account (strata.burn_accounts.mints); they are null for observed balances, for assets whose changes have no counterpart, and where changes are no longer retained.';
--! EndIncluded analytics/supply.sql
--! Included analytics/time_weighted_balances.sql
create or replace function strata.time_weighted_balances(asset bigint, from_time timestamptz, to_time timestamptz default now(), account bytea default null)
returns table (account_address bytea, average numeric, opening numeric, closing numeric, changes bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  scale numeric := strata.scale_of(strata.require_asset(asset));
begin
  perform from strata.periods('month', from_time, to_time);
  return query
    select s.account_address,
           strata.ratio(sum(s.balance * extract(epoch from s.until - s."timestamp")), extract(epoch from to_time - from_time)) * scale,
           coalesce(max(s.balance) filter (where s.period is null), 0) * scale,
           (array_agg(s.balance order by s."timestamp" desc, s.period nulls last))[1] * scale,
           coalesce(sum(s.change_count), 0)::bigint
      from strata.balance_steps(from_time, to_time, 'hour', asset, account) s
     where not exists (select from strata.burn_accounts n where n.account_address = s.account_address)
     group by s.account_address
    having bool_or(s.balance <> 0)
     order by 2 desc, s.account_address;
end
$$;

comment on function strata.time_weighted_balances(bigint, timestamptz, timestamptz, bytea) is
  'Average balance of every account (or one) over a span, each balance weighted with the time it was held: the one brought into the span counts from its beginning, and a time without rows as the balance it had. A balance counts from the start of its period. In whole units; null and burn accounts, and those that never held any, are left out.';
--! EndIncluded analytics/time_weighted_balances.sql
--! Included analytics/balance_change.sql
create or replace function strata.balance_change(instant timestamptz default now(), asset bigint default null, account bytea default null)
returns table (account_address bytea, asset_id bigint, amount numeric, change_24h numeric, change_7d numeric, change_30d numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
  if (asset is null) = (account is null) and asset is null then
    raise exception 'neither an account nor an asset was given' using errcode = 'invalid_parameter_value',
      hint = 'Give an account for all its assets, an asset for all its accounts, or both.';
  end if;
  return query
    select k.account_address, k.asset_id, coalesce(sum(k.balance) filter (where k.hours = 0), 0) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 24 then -k.balance else 0 end) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 168 then -k.balance else 0 end) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 720 then -k.balance else 0 end) * strata.scale_of(k.asset_id)
      from (
        select b.account_address, b.asset_id, b.balance, h.hours
          from unnest(array[0, 24, 168, 720]) h (hours)
         cross join lateral strata.balances_at(instant - interval '1 hour' * h.hours, asset, account) b
      ) k
     where not exists (select from strata.burn_accounts n where n.account_address = k.account_address)
     group by k.account_address, k.asset_id
     order by 4 desc, k.account_address, k.asset_id;
end
$$;

comment on function strata.balance_change(timestamptz, bigint, bytea) is
  'Balances as of an instant, and how they changed over the 24 hours, 7 days and 30 days before it: of an account in all its assets, of all accounts in an asset, or of both given. In whole units; null and burn accounts, and those that had none at any of the four instants, are left out.';
--! EndIncluded analytics/balance_change.sql
--! Included analytics/portfolio_at.sql
create or replace function strata.portfolio_at(account bytea, instant timestamptz default now(), max_age interval default null)
returns table (asset_id bigint, asset text, amount numeric, price numeric, priced_at timestamptz, usd_value numeric, status text)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
begin
  return query
    select b.asset_id, coalesce(a.symbol, a.asset_key), b.balance * scale, p.usd, p.priced_at,
           case when p.is_fresh then b.balance * scale * p.usd end,
           case when p.usd is null then 'unpriced' when p.is_fresh then 'priced' else 'stale' end
      from strata.balances_at(instant, null, account) b
      join strata.assets a on a.asset_id = b.asset_id
     cross join strata.scale_of(b.asset_id) scale
      left join lateral (
        select r.usd, r.priced_at, max_age is null or r.priced_at >= instant - max_age as is_fresh
          from strata.prices r where r.asset_id = b.asset_id and r.priced_at <= instant
         order by r.priced_at desc limit 1
      ) p on true
     order by 6 desc nulls last, 2, b.asset_id;
end
$$;

comment on function strata.portfolio_at(bytea, timestamptz, interval) is
  'What an account holds as of an instant, at the last prices known then. status: priced; stale, where the last price is older than max_age; unpriced, where there is none. Only what is priced has a usd_value, so that a sum never takes unknown for nothing.';
--! EndIncluded analytics/portfolio_at.sql
--! Included analytics/multiplier_of.sql
create or replace function strata.multiplier_of(curve jsonb, usd numeric) returns numeric
language plpgsql immutable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  lower record;
  upper record;
begin
  if jsonb_typeof(curve) is distinct from 'array' or jsonb_array_length(curve) = 0
     or exists (select from jsonb_array_elements(curve) p
                 where jsonb_typeof(p -> 'usd') is distinct from 'number' or jsonb_typeof(p -> 'multiplier') is distinct from 'number') then
    raise exception 'the multiplier curve is no list of points' using errcode = 'invalid_parameter_value',
      hint = 'Write it as [{"usd": 0, "multiplier": 0.5}, {"usd": 1000, "multiplier": 1}].';
  end if;
  select (p ->> 'usd')::numeric as usd, (p ->> 'multiplier')::numeric as multiplier into lower
    from jsonb_array_elements(curve) p where (p ->> 'usd')::numeric <= multiplier_of.usd order by 1 desc limit 1;
  select (p ->> 'usd')::numeric as usd, (p ->> 'multiplier')::numeric as multiplier into upper
    from jsonb_array_elements(curve) p where (p ->> 'usd')::numeric > multiplier_of.usd order by 1 limit 1;
  return case
    when lower.usd is null then upper.multiplier
    when upper.usd is null then lower.multiplier
    else lower.multiplier + strata.ratio((upper.multiplier - lower.multiplier) * (multiplier_of.usd - lower.usd), upper.usd - lower.usd)
  end;
end
$$;

comment on function strata.multiplier_of(jsonb, numeric) is
  'The multiplier that a curve of points gives for a USD value: on the straight line between its two neighbours, level below the first and above the last.';
--! EndIncluded analytics/multiplier_of.sql
--! Included analytics/valued_steps.sql
create or replace function strata.valued_steps(from_time timestamptz, to_time timestamptz, standard text)
returns table (account_address bytea, asset_id bigint, usd numeric, seconds numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
declare
  assets bigint[] := array(select a.asset_id from strata.assets a where a.standard = valued_steps.standard);
begin
  perform strata.require_retained('balances', from_time);
  return query execute format($steps$
    select k.account_address, k.asset_id,
           coalesce(k.usd_value, k.balance * strata.scale_of(k.asset_id) * (
             select p.usd from strata.prices p where p.asset_id = k.asset_id and p.priced_at <= k."timestamp" order by p.priced_at desc limit 1)),
           extract(epoch from lead(k."timestamp", 1, %3$L) over key - greatest(k."timestamp", %2$L))
      from (
        select b.account_address, b.asset_id, b."timestamp", b.balance, b.usd_value
          from strata.account_balances b where b."timestamp" >= %2$L and b."timestamp" < %3$L and b.asset_id = any (%4$L)
        union all
        (select distinct on (o.account_address, o.asset_id) o.account_address, o.asset_id, o."timestamp", o.balance, o.usd_value
           from (
             select b.account_address, b.asset_id, b."timestamp", b.balance, b.usd_value
               from strata.account_balances b where b."timestamp" >= %1$L and b."timestamp" < %2$L and b.asset_id = any (%4$L)
             union all
             select o.account_address, o.asset_id, o."timestamp", o.balance, null from strata.account_balances_opening o where o.asset_id = any (%4$L)
           ) o
          order by o.account_address, o.asset_id, o."timestamp" desc)
      ) k
    window key as (partition by k.account_address, k.asset_id order by k."timestamp")
  $steps$, (select s.opened_before from strata.balance_status s), from_time, to_time, assets);
end
$$;

comment on function strata.valued_steps(timestamptz, timestamptz, text) is
  'How long each account had which USD value in the assets of a standard within a span: the usd_value of its balance rows or, where they have none, their amount at the price known at their time; null where there is neither. What was brought into the span counts from its beginning.';
--! EndIncluded analytics/valued_steps.sql
--! Included analytics/activity_points.sql
create or replace function strata.activity_points(
  from_time timestamptz, to_time timestamptz default now(), standard text default 'activity',
  curve jsonb default '[{"usd": 0, "multiplier": 1}]', bands numeric[] default '{}'
)
returns table (account_address bytea, asset_id bigint, activity text, usd_average numeric, valued_share numeric, multiplier numeric, points numeric, band int)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  span    numeric := extract(epoch from to_time - from_time);
  edges   numeric[] := array(select distinct e from unnest(bands) e order by e);
begin
  perform from strata.periods('month', from_time, to_time);
  return query
    with averages as (
      select v.account_address, v.asset_id, strata.ratio(coalesce(sum(v.usd * v.seconds), 0), span) as usd,
             strata.ratio(coalesce(sum(v.seconds) filter (where v.usd is not null), 0), sum(v.seconds)) as valued
        from strata.valued_steps(from_time, to_time, standard) v
       where not exists (select from strata.burn_accounts n where n.account_address = v.account_address)
       group by v.account_address, v.asset_id having sum(v.seconds) > 0
    ), multiplied as (
      select a.*, strata.multiplier_of(curve, sum(a.usd) over (partition by a.account_address)) as multiplier from averages a
    )
    select m.account_address, m.asset_id, coalesce(n.symbol, n.asset_key), m.usd, m.valued, m.multiplier, m.usd * m.multiplier,
           width_bucket(sum(m.usd * m.multiplier) over (partition by m.account_address), edges)
      from multiplied m join strata.assets n on n.asset_id = m.asset_id
     order by sum(m.usd * m.multiplier) over (partition by m.account_address) desc, m.account_address, 7 desc, m.asset_id;
end
$$;

comment on function strata.activity_points(timestamptz, timestamptz, text, jsonb, numeric[]) is
  'Points of an incentive programme: the USD value an account had in each activity (assets of one standard), averaged over the span by the time it was held, times the multiplier that the curve gives for its average in all activities. curve: [{"usd": 0, "multiplier": 0.5}, {"usd": 1000, "multiplier": 1}] in ascending order, straight lines between its points, level outside. bands: lower edges of an account''s points in all; band 0 is below the first. valued_share is the share of the time for which a USD value was known.';
--! EndIncluded analytics/activity_points.sql
--! Included analytics/partitions_touched.sql
create or replace function strata.partitions_touched()
returns table (relation text, week timestamptz, kind text, touched int, partitions int)
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
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
   order by l.relation, l.lower_bound;
end;

comment on function strata.partitions_touched() is
  'What the running transaction has opened of balances, changes, snapshots (a row for each week), of state and of openings: how many of how many leaves. Read from the locks it holds, so it tells of every statement inside every function; what pruning left out was never locked.';
--! EndIncluded analytics/partitions_touched.sql
--! Included views/balances.sql
create or replace view strata.balances as
select strata.account_text(b.account_address) as account, a.network, coalesce(a.symbol, a.asset_key) as asset, a.token_id,
       b."timestamp", b.balance * ('1e-' || coalesce(a.decimals, 0)::text)::numeric as amount, b.balance, b.balance < 0 as negative,
       b.change_count, b.usd_value, b.data, b.account_address, b.asset_id
  from strata.account_balances b
  join strata.assets a using (asset_id)
 where b.account_address <> '\x0000000000000000000000000000000000000000';

comment on view strata.balances is
  'Balances as people read them: text account, symbol, amount scaled by the asset''s decimals, a flag for negative ones. One row per period with a change. Filter by account_address = strata.account(''0x…'') and "timestamp": both prune. The zero address is hidden.';
--! EndIncluded views/balances.sql
--! Included views/balances_current.sql
create or replace view strata.balances_current as
select strata.account_text(c.account_address) as account, a.network, coalesce(a.symbol, a.asset_key) as asset, a.token_id,
       c.balance * ('1e-' || coalesce(a.decimals, 0)::text)::numeric as amount, c.balance, c.balance < 0 as negative,
       c."timestamp" as changed_in, c.account_address, c.asset_id
  from strata.account_balances_current c
  join strata.assets a using (asset_id)
 where c.account_address <> '\x0000000000000000000000000000000000000000';

comment on view strata.balances_current is
  'The newest balance of every account and asset, as people read it; changed_in is the period of its last change. The zero address is hidden.';
--! EndIncluded views/balances_current.sql
--! Included functions/grant_roles.sql
create or replace function strata.grant_roles() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  r name;
begin
  foreach r in array array['strata_reader', 'strata_loader', 'strata_maintainer'] loop
    if not exists (select from pg_roles where rolname = r) then
      begin
        execute format('create role %I nologin', r);
      exception
        when insufficient_privilege then
          raise notice 'role % is missing and % may not create it', r, current_user;
        when duplicate_object or unique_violation then
          null;  -- another database of the cluster was migrated at the same moment
      end;
    end if;
  end loop;
  if (select count(*) from pg_roles where rolname in ('strata_reader', 'strata_loader', 'strata_maintainer')) < 3 then
    return;
  end if;
  revoke all on all routines in schema strata from public;
  grant usage on schema strata to strata_reader, strata_loader, strata_maintainer;
  grant select on all tables in schema strata to strata_reader, strata_loader, strata_maintainer;
  grant execute on all routines in schema strata to strata_loader, strata_maintainer;
  grant execute on function strata.account(text), strata.account_text(bytea), strata.asset_id(text, text, text, numeric),
    strata.week_start(timestamptz), strata.week_name(text, timestamptz), strata.partition_bounds(regclass), strata.set_partitions(text),
    strata.period_start(text, timestamptz), strata.balance_at(bytea, bigint, timestamptz), strata.sample_predicate(text, int),
    strata.recompute_floor(), strata.recompute_balances(bytea, bigint, timestamptz, int), strata.verify_rows(int),
    strata.verify_state(int), strata.verify_sums(), strata.verify_snapshots(int), strata.verify_ledger(),
    strata.week_key(timestamptz), strata.week_info(text), strata.partition_type(text), strata.require_set(text),
    strata.partition_info(text), strata.partition_distribution(text), strata.find_missing_weeks(text),
    strata.explain_query(text, timestamptz, timestamptz, text), strata.consolidation_obstacles(text, regclass),
    strata.consolidation_status(text), strata.consolidation_report(text),
    strata.get_account_balance_partition_info(), strata.check_partition_distribution(), strata.find_missing_partitions(),
    strata.explain_account_balance_query(timestamptz, timestamptz, text), strata.get_partition_consolidation_status(),
    strata.weekly_consolidation_report(),
    strata.account_keys(bytea, bigint), strata.active_accounts(timestamptz, timestamptz, text, bigint),
    strata.activity_points(timestamptz, timestamptz, text, jsonb, numeric[]), strata.asset_flows(timestamptz, timestamptz, text, bigint),
    strata.balance_change(timestamptz, bigint, bytea), strata.balance_movements(timestamptz, timestamptz, text, bigint, bytea),
    strata.balance_rows(timestamptz, timestamptz, text, bigint),
    strata.balance_series(bytea, bigint, timestamptz, timestamptz, text), strata.balance_steps(timestamptz, timestamptz, text, bigint, bytea),
    strata.balances_at(timestamptz, bigint, bytea), strata.balances_before(timestamptz, bigint),
    strata.cohorts(bigint, timestamptz, timestamptz, text), strata.concentration(bigint, timestamptz, int),
    strata.holders_at(bigint, timestamptz), strata.holders_over_time(bigint, timestamptz, timestamptz, text),
    strata.label_flows(text, text, bigint, timestamptz, timestamptz, text), strata.last_balance(bytea, bigint, timestamptz),
    strata.multiplier_of(jsonb, numeric), strata.partitions_touched(), strata.period_expression(text, text),
    strata.periods(text, timestamptz, timestamptz, bigint), strata.portfolio_at(bytea, timestamptz, interval), strata.ratio(numeric, numeric, int),
    strata.require_asset(bigint), strata.require_retained(text, timestamptz), strata.scale_of(bigint),
    strata.size_bands(bigint, timestamptz, numeric[]), strata.span_of(text, timestamptz, timestamptz, bigint), strata.state_is_stale(),
    strata.supply(bigint, timestamptz, timestamptz, text), strata.time_weighted_balances(bigint, timestamptz, timestamptz, bytea),
    strata.top_holders(bigint, timestamptz, int), strata.valued_steps(timestamptz, timestamptz, text)
    to strata_reader;
  grant insert, update, delete on strata.streams, strata.sources, strata.stream_batches, strata.stream_health, strata.quarantine, strata.assets,
    strata.balance_changes, strata.account_balances, strata.account_balances_current, strata.snapshot_rows,
    strata.fold_progress, strata.balance_status, strata.account_balances_opening, strata.held_openings, strata.held_deltas,
    strata.prices, strata.burn_accounts
    to strata_loader;
  grant usage on all sequences in schema strata to strata_loader, strata_maintainer;
  grant usage, create on schema strata, strata_held to strata_maintainer;
  grant insert, update, delete on strata.partition_sets, strata.account_balances_opening, strata.maintenance_runs,
    strata.consolidations, strata.held_partitions, strata.retentions, strata.held_openings, strata.held_deltas, strata.labels,
    strata.label_views, strata.adoptions, strata.prices, strata.burn_accounts
    to strata_maintainer;
end
$$;

comment on function strata.grant_roles() is
  'Creates the group roles strata_reader, strata_loader and strata_maintainer where the caller may, and grants each the least it needs. Safe to run again.';
--! EndIncluded functions/grant_roles.sql
select strata.grant_roles();
