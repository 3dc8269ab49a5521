create or replace procedure strata.consolidate_old_weeks_singly(set_name text, months int default 3)
language plpgsql
as $$
declare
  week   regclass;
  result record;
begin
  -- A procedure that commits may not pin its search_path; each of its transactions begins with it instead.
  perform pg_catalog.set_config('search_path', 'pg_catalog, strata, pg_temp', true);
  for week in
    select o.partition from strata.old_weeks(set_name, months) o where o.kind in ('hash', 'list') order by o.lower_bound
  loop
    perform pg_catalog.set_config('search_path', 'pg_catalog, strata, pg_temp', true);
    for result in select * from strata.consolidate_weeks(set_name, array[week]) loop
      raise notice '% %: %', result.week_key, result.status, result.message;
    end loop;
    commit;
    perform strata.flatten_weeks(set_name);
    commit;
  end loop;
end
$$;

comment on procedure strata.consolidate_old_weeks_singly(text, int) is
  'As consolidate_old_weeks(set_name, months, false), but commits after each week: writers of one week wait at a time, and the parent is free again after each swap. Call it outside a transaction; the results are notices, and rows of strata.consolidations.';
