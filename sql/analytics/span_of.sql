create or replace function strata.span_of(unit text, from_time timestamptz, to_time timestamptz, asset bigint default null) returns tstzrange
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  perform strata.require_retained('balances', from_time);
  -- A first period that retention has cut begins where balances begin: at its end they are what they were.
  return (
    select tstzrange(greatest(min(p.period), s.opened_before), max(p.ends))
      from strata.periods(unit, from_time, to_time, asset) p, strata.balance_status s group by s.opened_before);
end
$$;

comment on function strata.span_of(text, timestamptz, timestamptz, bigint) is
  'The time that strata.periods() of a span covers, as far as balances are retained.';
