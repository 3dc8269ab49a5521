create or replace function strata.week_at(set_name text, instant timestamptz) returns regclass
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  week regclass;
begin
  -- By its name, if that is what it says: the bounds of all weeks take longer to read, the more there are.
  select i.inhrelid::regclass into week
    from strata.partition_sets s
    join pg_class root on root.oid = s.parent
    join pg_class c on c.relnamespace = root.relnamespace and c.relname = strata.week_name(s.set_name, instant)
    join pg_inherits i on i.inhrelid = c.oid and i.inhparent = s.parent and not i.inhdetachpending
   where s.set_name = week_at.set_name;
  if week is null or not exists (select from strata.partition_bounds(week) b where b.lower_bound <= instant and instant < b.upper_bound) then
    select p.partition into week from strata.set_partitions(week_at.set_name) p where p.lower_bound <= instant and instant < p.upper_bound;
  end if;
  return week;
end
$$;

comment on function strata.week_at(text, timestamptz) is
  'The attached partition of a managed set that holds the instant, by its real bounds; null when there is none.';
