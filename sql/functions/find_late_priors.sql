create or replace function strata.find_late_priors(earliest timestamptz, latest timestamptz, opened timestamptz) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
-- A handful of keys against years of history: only index look-ups may touch it, whatever the planner believes of temporary tables.
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
  span       interval := '28 days';
  until      timestamptz;
  since      timestamptz;
  first_week timestamptz;
begin
  -- What lies before the rows that retention has left needs no row of its own; it still adds to the later ones.
  insert into pg_temp.late_periods (account_address, asset_id, period, change_count, running, running_opened, next_period, stored)
  select account_address, asset_id, period, change_count, sum(delta) over key,
         coalesce(sum(delta) filter (where period < opened) over key, 0), lead(period) over key, period < opened
    from pg_temp.late_deltas
  window key as (partition by account_address, asset_id order by period);

  -- Most keys have a row within a month; for the others twice as far each time, because to plan for years of weeks costs
  -- more than to look into the few that are needed.
  since := greatest(opened, strata.week_start(earliest) - span);
  until := latest + interval '1 microsecond';
  while exists (select from pg_temp.late_periods where not stored and prior is null) loop
    if until <= latest then
      first_week := coalesce(first_week, (select min(w.lower_bound) from strata.parts_of('strata.account_balances') w), 'infinity');
      exit when until <= greatest(opened, first_week);
    end if;
    execute format($prior$
      update pg_temp.late_periods t set prior = found.balance, stored = found."timestamp" = t.period
        from (
          select p.ctid as place, r.balance, r."timestamp"
            from pg_temp.late_periods p
           cross join lateral (
             select b.balance, b."timestamp" from strata.account_balances b
              where b.account_address = p.account_address and b.asset_id = p.asset_id and b."timestamp" <= p.period
                and b."timestamp" >= %1$L and b."timestamp" < %2$L
              order by b."timestamp" desc limit 1
           ) r
           where not p.stored and p.prior is null
        ) found
       where t.ctid = found.place
    $prior$, since, until);
    until := since;
    span := 2 * span;
    since := greatest(opened, since - span);
  end loop;
end
$$;

comment on function strata.find_late_priors(timestamptz, timestamptz, timestamptz) is
  'The part of fold_late_deltas() that lists the touched periods in pg_temp.late_periods, says which have a row already, and finds the balance of the last row before each of the others.';
