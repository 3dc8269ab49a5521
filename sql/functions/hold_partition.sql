create or replace function strata.hold_partition(partition regclass) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  h     strata.held_partitions;
  part  regclass;
  names text;
begin
  select * into h from strata.held_partitions j
   where j.partition = hold_partition.partition::oid and j.state = 'detaching' for update;
  if h.held_id is null or exists (select from pg_inherits i where i.inhrelid = hold_partition.partition) then
    raise exception '% is attached, or its journal does not say that it is being taken out', hold_partition.partition
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  select string_agg(c.relname, ', ') into names
    from strata.tables_of(hold_partition.partition) t join pg_class c on c.oid = t
   where to_regclass(format('strata_held.%I', c.relname)) <> t;
  if names is not null then
    raise exception 'strata_held has tables named % already', names
      using errcode = 'duplicate_table', hint = 'Drop or rename those; then retain again, which goes on from here.';
  end if;
  for part in select t from strata.tables_of(hold_partition.partition) t join pg_class c on c.oid = t
               where c.relnamespace <> 'strata_held'::regnamespace loop
    execute format('alter table %s set schema strata_held', part);
  end loop;
  perform strata.guard_detached(hold_partition.partition);
  update strata.held_partitions j
     set state = 'held', detached_at = clock_timestamp(),
         drop_after = clock_timestamp() + (select s.hold from strata.partition_sets s where s.set_name = h.set_name),
         bytes = (select sum(pg_total_relation_size(t)) from strata.tables_of(hold_partition.partition) t)
   where j.held_id = h.held_id;
  return h.held_id;
end
$$;

comment on function strata.hold_partition(regclass) is
  'Moves a detached week and its leaves to schema strata_held under their own names, to be dropped after the set''s hold; the last step of taking a week out.';
