create or replace function strata.stage_changes(source_id smallint, from_block bigint, to_block bigint, hash_partition int default null) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  grain    text;
  earliest timestamptz;
  latest   timestamptz;
  unknown  bigint;
  stage    text := 'pg_temp.balance_deltas';
begin
  select st.grain into strict grain
    from strata.sources src join strata.streams st on st.stream = src.stream where src.source_id = stage_changes.source_id;
  select min(b.min_time), max(b.max_time) into earliest, latest
    from strata.stream_batches b
   where b.source_id = stage_changes.source_id and b.end_block >= from_block and b.start_block <= to_block;
  perform strata.open_deltas();
  if earliest is null then
    return;
  end if;
  if strata.topology() = 'citus' then
    -- Shards are the hash partitions, and all of them are folded at once: what is asked for by partition comes with the first.
    if hash_partition > 0 then
      return;
    end if;
    hash_partition := null;
    perform strata.lock_fold();
    stage := 'strata.balance_deltas';
  end if;
  -- Literal times: the ledger knows when the rows of these blocks are, so that other weeks are not even planned for.
  execute format($stage$
    insert into %8$s (account_address, asset_id, period, delta, change_count)
    select account_address, asset_id, date_bin(interval '1 %4$s', block_time, timestamptz '1970-01-01 00:00:00+00'), sum(delta), count(*)
      from strata.balance_changes
     where source_id = %1$s and block_num between %2$s and %3$s and block_time between %5$L and %6$L
       and %7$s
     group by 1, 2, 3
  $stage$, source_id, from_block, to_block, grain, earliest, latest,
    case when hash_partition is null then 'true'
         else format('satisfies_hash_partition(''strata.account_balances_current''::regclass, 4, %s, account_address)', hash_partition) end, stage);

  -- A balance of nothing that has a name is shown by no view and checked by no sum.
  execute format($unknown$
    select d.asset_id from (select distinct b.asset_id from %s b) d
     where not exists (select from strata.assets a where a.asset_id = d.asset_id) limit 1
  $unknown$, stage) into unknown;
  if unknown is not null then
    raise exception 'changes of blocks % to % are in asset %, which strata.assets does not have', from_block, to_block, unknown
      using errcode = 'foreign_key_violation',
            hint = 'Insert it there: its id is strata.asset_id(network, standard, asset_key, token_id). Then fold again.';
  end if;
end
$$;

comment on function strata.stage_changes(smallint, bigint, bigint, int) is
  'Stages the stored changes of a source''s blocks (both inclusive), of all accounts or of one hash partition of the state, for fold_deltas().';
