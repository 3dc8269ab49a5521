create or replace function strata.share_gates(variadic sets text[]) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  one text;
begin
  if strata.topology() = 'citus' then
    -- One connection to each node for all of the transaction: fewer commits to prepare, and a new week, a new asset and rows fit in together.
    perform set_config('citus.multi_shard_modify_mode', 'sequential', true);
  end if;
  -- In one order, whatever order the caller names them in: two loaders and two swaps could wait for each other in a ring otherwise.
  foreach one in array (select array_agg(s order by s) from unnest(sets) s) loop
    perform pg_advisory_xact_lock_shared(strata.advisory_key('gate ' || one));
  end loop;
end
$$;

comment on function strata.share_gates(text[]) is
  'Says that this transaction is going to write to these sets. Call it before the first write: a swap of partitions waits for those who are in, and those who come wait for the swap, instead of being met with locks held.';
