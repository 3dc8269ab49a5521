create or replace function strata.require_months(months int) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if months is null or months not between 0 and 1200 then
    raise exception 'months must be 0 to 1200, not %', coalesce(months::text, 'null') using errcode = 'invalid_parameter_value';
  end if;
end
$$;

comment on function strata.require_months(int) is
  'Refuses an age in months that makes no sense; asked before any lock is taken.';
