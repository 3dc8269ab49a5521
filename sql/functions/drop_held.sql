create or replace function strata.drop_held(held_id bigint) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  h    strata.held_partitions;
  name text;
begin
  select * into h from strata.held_partitions j where j.held_id = drop_held.held_id for update;
  if h.state is distinct from 'held' or h.drop_after > clock_timestamp() then
    raise exception 'held partition % is %', drop_held.held_id, case when h.state = 'held' then format('kept until %s', h.drop_after) else coalesce(h.state, 'unknown') end
      using errcode = 'object_not_in_prerequisite_state', hint = 'strata.held_partitions says what may be dropped, and when.';
  end if;
  select format('%I.%I', n.nspname, c.relname) into name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = h.partition;
  if exists (select from pg_inherits i where i.inhrelid = h.partition)
     or (select c.relnamespace from pg_class c where c.oid = h.partition) <> 'strata_held'::regnamespace then
    raise exception '% is in use: it is attached, or no longer in strata_held', name
      using errcode = 'object_in_use', hint = 'If somebody put it back on purpose, set its state to reattached in strata.held_partitions.';
  end if;
  if name is not null then
    execute format('drop table %s', name);
  end if;
  update strata.held_partitions j set state = 'dropped', finished_at = clock_timestamp() where j.held_id = h.held_id;
  if h.retention_id is not null
     and not exists (select from strata.held_partitions j where j.retention_id = h.retention_id and j.finished_at is null) then
    update strata.retentions r set dropped_at = clock_timestamp() where r.retention_id = h.retention_id;
    delete from strata.held_openings o where o.retention_id = h.retention_id;
    delete from strata.held_deltas d where d.retention_id = h.retention_id;
  end if;
  return h.bytes;
end
$$;

comment on function strata.drop_held(bigint) is
  'Drops a held week whose time has come, and with the last week of a retention all that was kept for undoing it; returns the bytes freed.';
