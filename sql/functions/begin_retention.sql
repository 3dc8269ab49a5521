create or replace function strata.begin_retention(set_name text, cutoff timestamptz, partitions regclass[]) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  s       strata.partition_sets;
  wrong   text;
  waiting timestamptz;
  id      bigint;
begin
  if set_name in ('account_balances', 'balance_changes', 'snapshot_rows') then
    perform strata.lock_fold();
  end if;
  select * into strict s from strata.partition_sets p where p.set_name = begin_retention.set_name for update;
  select string_agg(u.part::text, ', ') into wrong
    from unnest(partitions) u (part)
   where not exists (select from strata.set_partitions(s.set_name) p where p.partition = u.part and p.upper_bound <= cutoff);
  if wrong is not null or cutoff <> strata.week_start(cutoff) or cutoff < s.retained_from then
    raise exception 'cannot retain % from % on: % end later, are not attached, or the cutoff is none', s.set_name, cutoff, coalesce(wrong, 'no weeks')
      using errcode = 'object_not_in_prerequisite_state', hint = 'Plan again; nothing was done.';
  end if;

  insert into strata.retentions (set_name, cutoff, retained_before, floor_before)
  select s.set_name, cutoff, s.retained_from,
         case s.set_name when 'account_balances' then b.opened_before when 'balance_changes' then b.changes_from else b.observations_from end
    from strata.balance_status b
  returning retention_id into id;
  case s.set_name
    when 'account_balances' then
      perform strata.carry_forward_openings(cutoff, id);
    when 'balance_changes' then
      waiting := strata.waiting_since();
      if waiting < cutoff then
        raise exception 'balance changes from % on wait to be folded', waiting
          using errcode = 'object_not_in_prerequisite_state', hint = 'Run pgstrata fold first.';
      end if;
      perform strata.note_changes_dropped(cutoff);
    when 'snapshot_rows' then
      perform strata.note_snapshots_dropped(cutoff);
    else null;
  end case;
  update strata.partition_sets p set retained_from = cutoff where p.set_name = s.set_name;
  insert into strata.held_partitions (set_name, lower_bound, upper_bound, reason, partition, partition_name, bytes, row_count,
                                      retention_id, state, drop_after)
  select s.set_name, w.lower_bound, w.upper_bound, 'retained', w.partition, w.partition_name, w.total_bytes, w.row_estimate,
         id, 'detaching', 'infinity'
    from strata.week_info(s.set_name) w where w.partition = any (partitions)
   order by w.lower_bound;
  return id;
end
$$;

comment on function strata.begin_retention(text, timestamptz, regclass[]) is
  'Takes weeks that end at or before the cutoff (a week''s start) out of the reckoning, in one transaction: opening balances are written, what they write over is kept, reads, verify, rebuild and loads go from the cutoff on, and the weeks are journaled as detaching. They are still attached: DETACH … CONCURRENTLY each, then hold_partition(). Returns the retention, for undo_retention().';
