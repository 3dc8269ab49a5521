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
