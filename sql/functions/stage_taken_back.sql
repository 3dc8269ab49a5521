create or replace function strata.stage_taken_back() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if not exists (select from pg_temp.taken_changes) and not exists (select from pg_temp.taken_blocks) then
    return;
  end if;
  -- Only what was folded is taken back; under the lock nobody folds more of it.
  perform strata.lock_fold();
  -- Sources that are folded evenly, as live ones are, need not ask for each change which partition it is of.
  insert into pg_temp.balance_deltas (account_address, asset_id, period, delta, change_count)
  select t.account_address, t.asset_id, t.period, sum(t.delta), sum(t.change_count)
    from pg_temp.taken_changes t
    join (select p.source_id, case count(*) when 4 then min(p.folded_block) end as everywhere, max(p.folded_block) as anywhere
            from strata.fold_progress p group by p.source_id) f
      on f.source_id = t.source_id and t.block_num <= f.anywhere
   where case when t.block_num <= f.everywhere then true else exists (
           select from strata.fold_progress p
            where p.source_id = t.source_id and t.block_num <= p.folded_block
              and satisfies_hash_partition('strata.account_balances_current'::regclass, 4, p.hash_partition, t.account_address)) end
   group by t.account_address, t.asset_id, t.period;
  -- A fork may be taken back in two parts, the batch that it cuts and all behind it: progress goes back to the first.
  update strata.fold_progress p set folded_block = t.from_block - 1
    from (select b.source_id, min(b.from_block) as from_block from pg_temp.taken_blocks b
           group by b.source_id having bool_or(b.to_block is null)) t
   where p.source_id = t.source_id and p.folded_block >= t.from_block;
  delete from pg_temp.taken_changes;
  delete from pg_temp.taken_blocks;
end
$$;

comment on function strata.stage_taken_back() is
  'Stages what take_back_changes() has deleted and what of it was folded, and sets the fold''s progress back; fold_deltas() begins with it.';
