create or replace function strata.find_missing_weeks(set_name text)
returns table (week_key text, week_start timestamptz, week_end timestamptz, status text, advice text)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set intervalstyle = 'postgres'
as $$
#variable_conflict use_column
declare
  s         strata.partition_sets := strata.require_set(find_missing_weeks.set_name);
  first     timestamptz;
  last      timestamptz;
  elsewhere text;
begin
  select min(p.lower_bound) filter (where isfinite(p.lower_bound)), max(p.upper_bound) filter (where isfinite(p.upper_bound))
    into first, last from strata.set_partitions(s.set_name) p;
  first := strata.week_start(least(first, now()));
  last := greatest(last, now() + s.premake * interval '168 hours');
  select format('; the rows of it that lie in the DEFAULT partition %s must be moved out first', string_agg(i.partition_name, ', ')) into elsewhere
    from strata.week_info(s.set_name) i where i.kind = 'default' having count(*) > 0;
  return query
    select strata.week_key(g.week), g.week, g.week + interval '168 hours',
           case when c.covered is null then 'MISSING' else 'PARTLY COVERED' end,
           case when c.covered is null
             then format('select * from strata.ensure_weeks(%L, %L, %L)', s.set_name, g.week, g.week) || coalesce(elsewhere, '')
             else format('%s covers %s of it: no week fits beside; move its rows, detach it, then call strata.ensure_weeks()', c.names, c.covered) end
      from generate_series(first, last, interval '168 hours') g(week)
     cross join lateral (
       select sum(least(p.upper_bound, g.week + interval '168 hours') - greatest(p.lower_bound, g.week)) as covered,
              string_agg(p.partition::text, ', ') as names
         from strata.set_partitions(s.set_name) p
        where p.lower_bound < g.week + interval '168 hours' and p.upper_bound > g.week
     ) c
     where not exists (select from strata.backfill_weeks b where s.set_name = 'balance_changes' and b.week_start = g.week and b.state <> 'attached')
       and g.week < last and coalesce(c.covered, interval '0') < interval '168 hours'
     order by g.week;
end
$$;

comment on function strata.find_missing_weeks(text) is
  'Weeks without a partition between the first one of a set and the last, or the last that should be created ahead by now; with the statement that creates it, or what is in the way.';
