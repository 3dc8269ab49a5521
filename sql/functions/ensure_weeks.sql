create or replace function strata.ensure_weeks(set_name text, from_time timestamptz, to_time timestamptz)
returns table (week_start timestamptz, partition regclass, created boolean)
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  first_week timestamptz := strata.week_start(from_time);
  last_week  timestamptz := strata.week_start(to_time);
  missing    timestamptz[];
  week       timestamptz;
begin
  if not exists (select from strata.partition_sets p where p.set_name = ensure_weeks.set_name) then
    raise exception 'there is no partition set %', quote_literal(ensure_weeks.set_name)
      using errcode = 'undefined_object', hint = 'The managed sets are the rows of strata.partition_sets.';
  end if;
  if not isfinite(from_time) or not isfinite(to_time) or to_time < from_time or last_week - first_week > interval '3660 days' then
    raise exception 'cannot create weeks from % to %', from_time, to_time
      using errcode = 'invalid_parameter_value', hint = 'Give two finite instants in order, at most ten years apart.';
  end if;

  missing := strata.missing_weeks(ensure_weeks.set_name, first_week, last_week);
  if cardinality(missing) > 0 then
    -- Callers that need the same weeks wait here, then find them made.
    perform pg_advisory_xact_lock(hashtextextended('pgstrata ' || ensure_weeks.set_name, 0));
    missing := strata.missing_weeks(ensure_weeks.set_name, first_week, last_week);
    foreach week in array missing loop
      perform strata.create_week(ensure_weeks.set_name, week);
    end loop;
  end if;

  return query
    select p.lower_bound, p.partition, p.lower_bound = any (missing)
      from strata.set_partitions(ensure_weeks.set_name) p
     where p.lower_bound <= last_week and p.upper_bound > first_week;
end
$$;

comment on function strata.ensure_weeks(text, timestamptz, timestamptz) is
  'Makes sure that every week from from_time to to_time (both inclusive) exists; returns them with what was created. Weeks that retention has dropped (before partition_sets.retained_from) are not made again. Security definer, so that a loader needs no right to create tables. Safe for any number of callers at once; commit soon, the attach holds SHARE UPDATE EXCLUSIVE on the root until then.';
