create or replace function strata.weeks_apart(weeks timestamptz[]) returns table (week_start timestamptz, changes text)
language sql volatile
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select w.week_start, format('%I.%I', n.nspname, c.relname)
    from strata.backfill_weeks w
    join pg_class c on c.oid = w.changes
    join pg_namespace n on n.oid = c.relnamespace
   where w.week_start = any (weeks_apart.weeks) and w.state <> 'attached'
   order by w.week_start
     for share of w;
end;

comment on function strata.weeks_apart(timestamptz[]) is
  'Those of the weeks whose rows go to a table beside balance_changes, with its name; they stay there until this transaction ends. All others are partitions.';
