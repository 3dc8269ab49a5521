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
  until      timestamptz;
  since      timestamptz;
  first_week timestamptz;
begin
  -- What lies before the rows that retention has left needs no row of its own; it still adds to the later ones.
  execute format($periods$
    insert into pg_temp.late_periods (account_address, asset_id, period, change_count, running, running_opened, next_period, stored)
    select l.*, period < %3$L or exists (
             select from strata.account_balances b
              where b.account_address = l.account_address and b.asset_id = l.asset_id and b."timestamp" = l.period
                and b."timestamp" between %1$L and %2$L)
      from (
        select account_address, asset_id, period, change_count, sum(delta) over key as running,
               coalesce(sum(delta) filter (where period < %3$L) over key, 0) as running_opened, lead(period) over key as next_period
          from pg_temp.late_deltas
        window key as (partition by account_address, asset_id order by period)
      ) l
  $periods$, earliest, latest, opened);

  -- Most keys have a row within a month; for the others one week after the other, because to plan for years of weeks costs
  -- more than to look into the few that are needed.
  until := latest;
  since := greatest(opened, strata.week_start(earliest) - interval '28 days');
  while exists (select from pg_temp.late_periods where not stored and prior is null) loop
    execute format($prior$
      update pg_temp.late_periods t set prior = found.balance
        from (
          select p.ctid as place, r.balance
            from pg_temp.late_periods p
           cross join lateral (
             select b.balance from strata.account_balances b
              where b.account_address = p.account_address and b.asset_id = p.asset_id and b."timestamp" < p.period
                and b."timestamp" >= %1$L and b."timestamp" < %2$L
              order by b."timestamp" desc limit 1
           ) r
           where not p.stored and p.prior is null
        ) found
       where t.ctid = found.place
    $prior$, since, until);
    if first_week is null then
      select coalesce(min(w.lower_bound), 'infinity') into first_week from strata.set_partitions('account_balances') w;
    end if;
    exit when since <= greatest(opened, first_week);
    until := since;
    since := greatest(opened, since - interval '7 days');
  end loop;
end
$$;

comment on function strata.find_late_priors(timestamptz, timestamptz, timestamptz) is
  'The part of fold_late_deltas() that lists the touched periods in pg_temp.late_periods, says which have a row already, and finds the balance of the last row before each of the others.';
