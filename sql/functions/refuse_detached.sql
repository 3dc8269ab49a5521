create or replace function strata.refuse_detached() returns trigger
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if current_setting('strata.replaying', true) = 'on' then
    return null;
  end if;
  raise exception '% is not part of its set now; nothing may be written to it', tg_relid::regclass
    using errcode = 'object_not_in_prerequisite_state', hint = 'Write to the parent table, or look the partition up again.';
end
$$;

comment on function strata.refuse_detached() is
  'Trigger on tables that maintenance has taken out of their set or not put in yet: whoever looked a partition up before an exchange and writes now would lose what is written, so it is refused. Only a copy or a replay, which sets strata.replaying, may.';
