create or replace function strata.fill_beside(model regclass, name name, storage text, columns name[], rows text, out filled regclass, out row_count bigint)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  schema_name name;
  outputs     text;
  properties  text;
  written     bigint;
begin
  select n.nspname into strict schema_name from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = model;
  select string_agg(format('%s::%s as %I',
           case when a.attname = any (columns) then quote_ident(a.attname) else coalesce(pg_get_expr(d.adbin, d.adrelid), 'null') end,
           format_type(a.atttypid, a.atttypmod), a.attname), ', ' order by a.attnum),
         concat_ws(', ',
           string_agg(format('alter %I set default %s', a.attname, pg_get_expr(d.adbin, d.adrelid)), ', ') filter (where d.oid is not null),
           string_agg(format('alter %I set storage %s', a.attname,
             case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end), ', ')
             filter (where a.attstorage <> t.typstorage),
           string_agg(format('alter %I set compression %s', a.attname, case a.attcompression when 'l' then 'lz4' else 'pglz' end), ', ')
             filter (where a.attcompression <> ''),
           string_agg(format('alter %I set not null', a.attname), ', ') filter (where a.attnotnull and not named.yes))
    into outputs, properties
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    cross join lateral (select exists (select from pg_constraint k where k.conrelid = model and k.contype = 'n' and k.conkey[1] = a.attnum) as yes) named
   where a.attrelid = model and a.attnum > 0 and not a.attisdropped;
  -- Since PostgreSQL 18 a NOT NULL has a name.
  select concat_ws(', ', nullif(properties, ''), string_agg(format('add constraint %I %s', k.conname, pg_get_constraintdef(k.oid)), ', ')) into properties
    from pg_constraint k where k.conrelid = model and k.contype in ('c', 'n');

  -- INSERT looks for room and pins its page anew at each row. This keeps its page, a tenth of the whole fold less; but it gives
  -- a table columns and nothing else.
  execute format('create table %I.%I%s as select %s from (%s) r (%s)', schema_name, name, coalesce(' with (' || storage || ')', ''), outputs, rows,
    (select string_agg(quote_ident(c), ', ' order by n) from unnest(columns) with ordinality u (c, n)));
  get diagnostics written = row_count;
  filled := format('%I.%I', schema_name, name)::regclass;
  row_count := written;
  execute format('alter table %s %s', filled, properties);
end
$$;

comment on function strata.fill_beside(regclass, name, text, name[], text) is
  'Makes a table like the model, with these storage parameters, of the rows of a query that yields these columns; without indexes. Says which, and how many rows.';
