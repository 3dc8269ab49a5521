create or replace function strata.store_week(set_name text, week regclass, method text default 'columnar') returns bigint
language plpgsql security definer
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set client_min_messages = warning
as $$
declare
  w      record;
  root   regclass;
  name   text;
  apart  text;
  copied regclass;
  was    record;
  now_is record;
  begun  timestamptz := clock_timestamp();
begin
  if store_week.set_name <> 'balance_changes' or store_week.method not in ('columnar', 'heap') then
    raise exception '% is not stored as %', store_week.set_name, store_week.method
      using errcode = 'feature_not_supported', hint = 'Only weeks of balance_changes are stored by column: their rows never change. The method is columnar or heap.';
  end if;
  select i.* into w from strata.week_info(store_week.set_name) i where i.partition = store_week.week and i.kind in ('sharded', 'columnar');
  if w.partition is null then
    raise exception '% is no week of % on a cluster', store_week.week, store_week.set_name using errcode = 'undefined_object';
  end if;
  if (w.kind = 'columnar') = (store_week.method = 'columnar') then
    return 0;
  end if;
  if store_week.method = 'columnar' and not exists (select from pg_am where amname = 'columnar') then
    if not exists (select from pg_available_extensions e where e.name = 'citus_columnar') then
      raise exception 'this cluster has no columnar storage'
        using errcode = 'feature_not_supported', hint = 'Install the extension citus_columnar on every node; until then the week stays as it is.';
    end if;
    create extension citus_columnar;
  end if;
  select s.parent into root from strata.partition_sets s where s.set_name = store_week.set_name;
  name := w.partition_name;
  apart := name || '_anew';
  -- One connection to each node: what one statement makes the next one finds.
  perform set_config('citus.multi_shard_modify_mode', 'sequential', true);
  -- Writers of this week wait from here on, readers of the set for the exchange at the end.
  execute format('lock table %s in share row exclusive mode', week);
  perform strata.await_shards();
  select * into was from strata.week_digest(week);
  execute format('create table strata.%I (like %s including all excluding identity excluding indexes) using %I', apart, week, method);
  copied := format('strata.%I', apart)::regclass;
  perform create_distributed_table(copied, 'account_address', colocate_with => root::text);
  execute format('insert into %s select * from %s', copied, week);
  -- Named by hand, because the names that are free now are not those it is to have.
  execute format('alter table %s add constraint %I primary key (account_address, asset_id, block_time, block_num, ordinal, source_id)', copied, apart || '_pkey');
  if method = 'heap' then
    perform strata.index_sharded_week(set_name, copied);
  end if;
  select * into now_is from strata.week_digest(copied);
  if (was.row_count, was.hash) is distinct from (now_is.row_count, now_is.hash) then
    raise exception 'the copy of % is not the week: % rows with hash % there, % with % here', week, was.row_count, was.hash, now_is.row_count, now_is.hash
      using errcode = 'internal_error', hint = 'Nothing was exchanged and nothing is lost.';
  end if;
  execute format('alter table %s detach partition %s', root, week);
  execute format('drop table %s', week);
  execute format('alter index strata.%I rename to %I', apart || '_pkey', name || '_pkey');
  execute format('alter table %s rename to %I', copied, name);
  perform strata.attach_week(set_name, w.lower_bound, copied);
  insert into strata.consolidations (set_name, lower_bound, upper_bound, way, step, week, week_name, stage, stage_name, heap_order, row_count,
                                     proof, detail, started_at, swapped_at, finished_at)
  values (store_week.set_name, w.lower_bound, w.upper_bound, 'transaction', case method when 'columnar' then 'dropped' else 'undone' end, week, name, copied, name,
          'time', now_is.row_count,
          jsonb_build_object('forward', jsonb_build_object('rows', now_is.row_count, 'hash', now_is.hash::text)),
          jsonb_build_object('stored', method), begun, clock_timestamp(), clock_timestamp());
  return now_is.row_count;
end
$$;

comment on function strata.store_week(text, regclass, text) is
  'Stores a week of balance_changes on a cluster by column (columnar), or row by row again (heap), in one transaction: a copy is built beside it, compared by row count and an order-free hash of every row, and takes its place. Returns the rows, 0 when the week is stored so already. Writers of the week wait meanwhile, readers of the set for the exchange. Security definer, so that strata_maintainer may call it; a reorg goes through make_weeks_writable().';
