create or replace function strata.flatten_weeks(set_name text) returns int
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set lock_timeout = '100ms'
as $$
declare
  s       strata.partition_sets := strata.require_set(set_name);
  w       record;
  changed int := 0;
begin
  for w in
    select i.partition, i.lower_bound, i.upper_bound, h.inhrelid::regclass as whole
      from strata.week_info(set_name) i join pg_inherits h on h.inhparent = i.partition where i.kind = 'consolidated' order by i.lower_bound
  loop
    begin
      if strata.is_awaited(w.partition) then
        raise lock_not_available;
      end if;
      perform pg_advisory_xact_lock(strata.advisory_key('gate ' || s.set_name));
      -- The root before the week, as everybody locks: no deadlock, and nothing slow behind it.
      execute format('lock table only %s in access exclusive mode', s.parent);
      execute format('alter table %s detach partition %s', s.parent, w.partition);
      execute format('alter table %s detach partition %s', w.partition, w.whole);
      execute format('drop table %s', w.partition);
      execute format('alter table %s attach partition %s for values from (%L) to (%L)', s.parent, w.whole, w.lower_bound, w.upper_bound);
      changed := changed + 1;
    exception when others then
      null;  -- Nothing is wrong with such a week; the next call tries again.
    end;
  end loop;
  return changed;
end
$$;

comment on function strata.flatten_weeks(text) is
  'Weeks that were consolidated while somebody waited to write to them kept a level between the parent and their one table; takes it out where the parent is to be had in 100 ms. Returns how many weeks that were. Locks the parent until the end of the transaction: commit at once.';
