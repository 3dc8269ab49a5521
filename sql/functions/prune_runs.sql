create or replace function strata.prune_runs(set_name text) returns bigint
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
#variable_conflict use_column
declare
  pruned bigint;
begin
  delete from strata.maintenance_runs r
   using strata.partition_sets s
   where s.set_name = prune_runs.set_name and r.set_name = s.set_name
     and r.started_at < clock_timestamp() - s.keep_runs and r.outcome <> 'running'
     and exists (select from strata.maintenance_runs later
                  where later.set_name = r.set_name and later.verb = r.verb and later.outcome = r.outcome
                    and later.detail ? 'narrowed' = r.detail ? 'narrowed'
                    and (later.started_at, later.run_id) > (r.started_at, r.run_id));
  get diagnostics pruned = row_count;
  return pruned;
end
$$;

comment on function strata.prune_runs(text) is
  'Deletes the maintenance runs of a set that are older than its keep_runs, but never the last of a verb and outcome: what is due and what has failed is read from those. Every run begins with it.';
