create or replace function strata.key_backfill_leaf(week_start timestamptz, leaf int) returns text
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  own     regclass;
  size_kb bigint;
begin
  select i.inhrelid::regclass into own
    from strata.backfill_weeks w
    join pg_inherits i on i.inhparent = w.changes
   where w.week_start = key_backfill_leaf.week_start and w.state = 'building'
   order by i.inhrelid offset leaf limit 1;
  if own is not null then
    execute format('lock table %s in access exclusive mode', own);
    if not exists (select from pg_index i where i.indrelid = own) then
      -- Runs that fit into the processor's cache are sorted a quarter faster, as long as all of them can be merged at once, for
      -- which each takes a quarter of a megabyte. What is larger is better shared by parallel workers, who ask for more.
      size_kb := pg_relation_size(own) / 1024;
      perform set_config('maintenance_work_mem',
        case when size_kb > 524288 then 262144 else greatest(2048, (1.25 * sqrt(size_kb * 256.0))::int) end || 'kB', true);
      perform strata.build_indexes_like('strata.balance_changes', own);
    end if;
  end if;
  return own::text;
end
$$;

comment on function strata.key_backfill_leaf(timestamptz, int) is
  'Builds keys and indexes of one hash partition (0 is the first) of a week that stands beside balance_changes, so that several connections can share a week; nothing to do the second time. Returns the partition, null when the week has all its keys.';
