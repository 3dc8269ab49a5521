create or replace function strata.open_backfill_weeks(weeks timestamptz[], present timestamptz, most int) returns setof timestamptz
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
as $$
declare
  wanted   timestamptz[];
  week     timestamptz;
  changes  regclass;
  leaf     regclass;
  privilege record;
  retained timestamptz;
  folded   timestamptz;
begin
  -- On a cluster weeks are cut by shards, and folded inside them.
  if strata.topology() <> 'single' then
    return;
  end if;
  -- Callers that need the same weeks wait here, and makers of ordinary weeks with them.
  perform pg_advisory_xact_lock(hashtextextended('pgstrata balance_changes', 0));
  -- Retention holds this row while it looks for weeks that are not attached yet.
  select s.retained_from into retained from strata.partition_sets s where s.set_name = 'balance_changes' for share;
  -- The newest time that balances may have: a week in front of it can no longer be folded whole.
  select max(b.max_time) into folded
    from strata.stream_batches b
    join strata.fold_progress p on p.source_id = b.source_id and b.start_block <= p.folded_block;
  wanted := strata.missing_weeks('balance_changes', strata.week_start((select min(w) from unnest(weeks) w)), strata.week_start((select max(w) from unnest(weeks) w)));
  for week in
    select distinct strata.week_start(w) from unnest(weeks) w
     where strata.week_start(w) = any (wanted) and strata.week_start(w) + interval '168 hours' <= least(present, 'infinity')
       and (folded is null or folded < strata.week_start(w))
       and to_regclass(format('strata.%I', strata.week_name('balance_changes', w))) is null
     order by 1
     limit greatest(0, most - (select count(*) from strata.backfill_weeks b where b.state <> 'attached'))
  loop
    changes := strata.build_week('balance_changes', week, false);
    for leaf in select i.inhrelid::regclass from pg_inherits i where i.inhparent = changes loop
      -- What is inserted now is vacuumed once, when it has its keys.
      execute format('alter table %s set (autovacuum_enabled = off)', leaf);
    end loop;
    -- Loaders write to the week by its own name as long as it stands beside the set.
    for privilege in
      select x.privilege_type, x.grantee from strata.partition_sets s join pg_class c on c.oid = s.parent cross join lateral aclexplode(c.relacl) x
       where s.set_name = 'balance_changes' and x.grantee <> c.relowner and x.privilege_type in ('SELECT', 'INSERT', 'DELETE')
    loop
      execute format('grant %s on %s to %s', privilege.privilege_type, changes, strata.role_text(privilege.grantee));
    end loop;
    insert into strata.backfill_weeks (week_start, changes) values (week, changes)
    on conflict on constraint backfill_weeks_pkey do update
      set state = 'building', changes = excluded.changes, first_blocks = '{}', row_count = null, balance_rows = null, folded = null, error = null,
          opened_at = clock_timestamp(), keyed_at = null, attached_at = null;
  end loop;
  return query
    select b.week_start from strata.backfill_weeks b
     where b.state <> 'attached' and b.week_start in (select strata.week_start(w) from unnest(weeks) w) order by 1;
end
$$;

comment on function strata.open_backfill_weeks(timestamptz[], timestamptz, int) is
  'Makes tables beside balance_changes, without indexes, for those of the weeks that have no partition yet, end before the present, and lie behind all that is folded, as long as no more than so many stand open; returns which of the weeks stand beside the set now. All others are for ensure_weeks(). Security definer, so that a loader needs no right to create tables.';
