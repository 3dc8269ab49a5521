create or replace function strata.undo_retention(retention_id bigint) returns int
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  r      strata.retentions;
  s      strata.partition_sets;
  h      strata.held_partitions;
  home   name;
  root   text;
  part   regclass;
  lost   timestamptz;
  taken  text;
  back   int := 0;
begin
  select * into r from strata.retentions j where j.retention_id = undo_retention.retention_id;
  if r.set_name in ('account_balances', 'balance_changes', 'snapshot_rows') then
    perform strata.lock_fold();
  end if;
  select * into r from strata.retentions j where j.retention_id = undo_retention.retention_id for update;
  select * into s from strata.partition_sets p where p.set_name = r.set_name for update;
  if r.undone_at is not null or r.dropped_at is not null or s.retained_from is distinct from r.cutoff then
    raise exception 'retention % of % cannot be undone: it is undone or dropped already, or not the newest', undo_retention.retention_id, r.set_name
      using errcode = 'object_not_in_prerequisite_state', hint = 'Undo the newest retention first; strata.retentions has them all.';
  end if;
  select max(j.upper_bound) into lost from strata.held_partitions j
   where j.retention_id = r.retention_id and (j.state = 'dropped' or not exists (select from pg_class c where c.oid = j.partition));
  if lost is not null and r.set_name = 'account_balances' then
    raise exception 'retention % cannot be undone: weeks of it up to % are dropped', r.retention_id, lost
      using errcode = 'object_not_in_prerequisite_state', hint = 'Opening balances are exact from the cutoff on only.';
  end if;
  select format('%I.%I', n.nspname, c.relname), n.nspname into root, home
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = s.parent;

  for h in
    select * from strata.held_partitions j
     where j.retention_id = r.retention_id and j.finished_at is null and j.lower_bound >= coalesce(lost, '-infinity')
     order by j.lower_bound
  loop
    if exists (select from pg_inherits i where i.inhrelid = h.partition and i.inhdetachpending) then
      raise exception 'the detach of % is unfinished', h.partition_name
        using errcode = 'object_not_in_prerequisite_state', hint = format('alter table %s detach partition %s finalize', root, h.partition::regclass);
    end if;
    if not exists (select from pg_inherits i where i.inhrelid = h.partition) then
      select p.partition::text into taken from strata.set_partitions(s.set_name) p
       where p.is_default or (p.lower_bound < h.upper_bound and p.upper_bound > h.lower_bound) limit 1;
      if taken is not null then
        raise exception '% cannot be put back: % is in its place', h.partition_name, taken
          using errcode = 'object_not_in_prerequisite_state',
                hint = format('Move the rows of %s elsewhere, detach it, and undo again; then insert them anew.', taken);
      end if;
      for part in select t from strata.tables_of(h.partition::regclass) t join pg_class c on c.oid = t
                   where c.relnamespace <> home::regnamespace loop
        execute format('alter table %s set schema %I', part, home);
        execute format('drop trigger if exists strata_detached on %I.%I', home, (select c.relname from pg_class c where c.oid = part));
      end loop;
      execute format('alter table %s attach partition %s for values from (%L) to (%L)',
        root, h.partition::regclass, h.lower_bound, h.upper_bound);
    end if;
    update strata.held_partitions j set state = 'reattached', finished_at = clock_timestamp() where j.held_id = h.held_id;
    back := back + 1;
  end loop;

  update strata.retentions j set undone_at = clock_timestamp() where j.retention_id = r.retention_id;
  update strata.partition_sets p set retained_from = greatest(r.retained_before, lost) where p.set_name = s.set_name;
  case r.set_name
    when 'account_balances' then
      update strata.balance_status set opened_before = r.floor_before, changed_at = statement_timestamp();
      perform strata.put_back_openings(r.retention_id, r.cutoff, r.floor_before, strata.undoable_retention());
    when 'balance_changes' then
      update strata.balance_status set changes_from = greatest(r.floor_before, lost), changed_at = statement_timestamp();
    when 'snapshot_rows' then
      update strata.balance_status set observations_from = greatest(r.floor_before, lost), changed_at = statement_timestamp();
    else null;
  end case;
  return back;
end
$$;

comment on function strata.undo_retention(bigint) is
  'Puts the weeks of the newest retention of a set back, without a scan, and with them what opening balances and balance_status said before; in one transaction. Weeks dropped already stay dropped: then balances cannot be put back, other sets from the last dropped week on. Returns the weeks that are attached again.';
