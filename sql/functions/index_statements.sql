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
