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
