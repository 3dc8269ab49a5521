create or replace function strata.require_retained(what text, since timestamptz) returns void
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  floor timestamptz := (
    select case what when 'balances' then s.opened_before when 'changes' then s.changes_from else s.observations_from end
      from strata.balance_status s);
begin
  if since is null then
    raise exception 'the instant to begin with is missing' using errcode = 'null_value_not_allowed';
  end if;
  if since < floor then
    raise exception '% before % were dropped by retention, and % is earlier', what, floor, since
      using errcode = 'datetime_field_overflow', hint = format('Ask from %s on.', floor);
  end if;
end
$$;

comment on function strata.require_retained(text, timestamptz) is
  'Refuses an instant for which balances, changes or snapshots are no longer retained, and says from when on they are.';
