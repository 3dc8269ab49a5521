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
