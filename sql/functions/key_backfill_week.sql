create or replace function strata.key_backfill_week(week_start timestamptz) returns void
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set maintenance_work_mem = '256MB'
as $$
declare
  w      strata.backfill_weeks;
  leaf   regclass;
  blocks jsonb;
begin
  select * into w from strata.backfill_weeks b where b.week_start = key_backfill_week.week_start for update;
  if w.state is distinct from 'building' then
    return;
  end if;
  if not exists (select from pg_index i where i.indrelid = w.changes) then
    -- The week takes the indexes of its partitions as its own, and builds those that are missing.
    perform strata.build_indexes_like('strata.balance_changes', w.changes);
  end if;
  for leaf in select i.inhrelid::regclass from pg_inherits i where i.inhparent = w.changes loop
    execute format('alter table %s reset (autovacuum_enabled)', leaf);
  end loop;
  execute format('select jsonb_object_agg(c.source_id, c.first) from (select source_id, min(block_num) as first from %s group by 1) c', w.changes) into blocks;
  update strata.backfill_weeks b set state = 'keyed', first_blocks = coalesce(blocks, '{}'), keyed_at = clock_timestamp(), error = null
   where b.week_start = w.week_start;
end
$$;

comment on function strata.key_backfill_week(timestamptz) is
  'Gives a week that stands beside balance_changes the keys of its partitions (see key_backfill_leaf(); missing ones are built here). From here on it could be attached.';
