create or replace function strata.open_label_stage(stage name, target regclass, columns text[], sort_memory bigint) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  filled boolean;
begin
  -- Enough for the hash of a large label table; until the end of the transaction.
  if pg_size_bytes(current_setting('work_mem')) < sort_memory then
    perform set_config('work_mem', (sort_memory / 1024) || 'kB', true);
  end if;
  if to_regclass('pg_temp.label_misses') is null then
    create temp table label_misses (batch_id bigint not null, unmatched bigint not null, dropped bigint not null) on commit delete rows;
  end if;
  if to_regclass(format('pg_temp.%I', stage)) is null then
    execute format('create temp table %I on commit delete rows as select %s from %s with no data',
      stage, (select string_agg(quote_ident(c), ', ' order by place) from unnest(columns) with ordinality u(c, place)), target);
    return;
  end if;
  -- An earlier part of the same transaction may have left its rows.
  execute format('select exists (select from pg_temp.%I)', stage) into filled;
  if filled then
    execute format('truncate pg_temp.%I', stage);
  end if;
end
$$;

comment on function strata.open_label_stage(name, regclass, text[], bigint) is
  'Makes the session''s empty stage for rows that wait for their labels, with the given columns of their target, and pg_temp.label_misses, which counts per batch what found none; both are emptied at each commit. Gives the transaction at least sort_memory bytes of work_mem.';
