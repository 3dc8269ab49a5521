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
