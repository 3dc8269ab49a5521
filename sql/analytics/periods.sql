create or replace function strata.periods(unit text, from_time timestamptz, to_time timestamptz, asset bigint default null)
returns table (period timestamptz, ends timestamptz)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  first timestamptz;
  step  interval := case unit when 'hour' then interval '1 hour' when 'day' then interval '1 day'
                              when 'week' then interval '7 days' when 'month' then interval '1 month' end;
begin
  if step is null then
    raise exception 'there is no period %', coalesce(quote_literal(unit), 'null')
      using errcode = 'invalid_parameter_value', hint = 'Take hour, day, week (Sunday to Sunday) or month.';
  end if;
  if from_time is null or to_time is null or not isfinite(from_time) or not isfinite(to_time) then
    raise exception 'a span of time needs a beginning and an end' using errcode = 'invalid_parameter_value',
      hint = 'Give two instants, such as 2026-01-01 and 2026-02-01.';
  end if;
  if from_time >= to_time then
    raise exception 'the span ends at %, which is not later than its beginning %', to_time, from_time
      using errcode = 'invalid_parameter_value', hint = 'Put the earlier instant first.';
  end if;
  if unit = 'hour' and exists (select from strata.assets a where a.asset_id = asset and a.grain = 'day') then
    raise exception 'the balances of asset % are kept by the day, not by the hour', asset
      using errcode = 'invalid_parameter_value', hint = 'Take day, week or month.';
  end if;
  first := case unit when 'week' then strata.week_start(from_time) else date_trunc(unit, from_time) end;
  return query select g, g + step from generate_series(first, to_time - interval '1 microsecond', step) g;
end
$$;

comment on function strata.periods(text, timestamptz, timestamptz, bigint) is
  'The hours, days, weeks (Sunday to Sunday) or months in UTC that a span touches, each whole: from the one that holds from_time to the one before to_time. Refuses hours for an asset that is kept by the day.';
