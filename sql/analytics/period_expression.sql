create or replace function strata.period_expression(unit text, instant text) returns text
language plpgsql immutable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  return case unit
    when 'hour' then format('date_bin(interval ''1 hour'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'day' then format('date_bin(interval ''1 day'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'week' then format('date_bin(interval ''7 days'', %s, timestamptz ''1900-01-07 00:00:00+00'')', instant)
    when 'month' then format('date_trunc(''month'', %s, ''UTC'')', instant)
  end;
end
$$;

comment on function strata.period_expression(text, text) is
  'SQL text of the start of the period (hour, day, week or month, UTC) that holds an instant, written out because a call per row would cost more than all the rest; see strata.periods().';
