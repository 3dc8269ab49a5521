create or replace function strata.folded_predicate(relation text) returns text
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  with progress as (
    select src.source_id, case count(p.folded_block) when 4 then min(p.folded_block) else -1 end as whole, coalesce(max(p.folded_block), -1) as partly
      from strata.sources src left join strata.fold_progress p on p.source_id = src.source_id
     group by src.source_id
  ), waiting as (
    select w.* from progress w
     where exists (select from strata.stream_batches b where b.source_id = w.source_id and b.end_block > w.whole)
  )
  select coalesce(string_agg(format(
           case when w.partly = w.whole then '(%1$I.source_id <> %2$s or %1$I.block_num <= %3$s)'
           else '(%1$I.source_id <> %2$s or %1$I.block_num <= %3$s or (%1$I.block_num <= %4$s and exists (select from strata.fold_progress p'
           ' where p.source_id = %2$s and %1$I.block_num <= p.folded_block and satisfies_hash_partition('
           '''strata.account_balances_current''::regclass, 4, p.hash_partition, %1$I.account_address))))' end,
           relation, w.source_id, w.whole, w.partly), ' and '), 'true')
    from waiting w;
end;

comment on function strata.folded_predicate(text) is
  'SQL condition that holds for the balance changes of a relation that are folded; as text, because it is simply true while nothing waits. What is loaded but waits for fold_pending() is in no balance yet, and must not be expected there.';
