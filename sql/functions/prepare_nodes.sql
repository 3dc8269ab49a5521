create or replace function strata.prepare_nodes() returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  failed  text;
  routine regprocedure;
begin
  -- Roles are of a node and not of a database: another warehouse of the cluster may have made them.
  select string_agg(r.result, '; ') into failed from run_command_on_workers($node$
    do 'declare r text; begin
      perform set_config(''citus.enable_ddl_propagation'', ''off'', true);
      foreach r in array array[''strata_reader'', ''strata_loader'', ''strata_maintainer''] loop
        if not exists (select from pg_roles where rolname = r) then
          begin
            execute format(''create role %I nologin'', r);
          exception when duplicate_object or unique_violation then null;
          end;
        end if;
      end loop;
    end'
  $node$) r where not r.success;
  if failed is not null then
    raise exception 'the roles of the warehouse cannot be made on the workers: %', failed;
  end if;
  create schema if not exists strata_shards;
  comment on schema strata_shards is 'Functions that work inside one shard, made on the workers; see strata.make_shard_functions()';
  for routine in
    select p.oid from pg_proc p
     where p.pronamespace = 'strata'::regnamespace
       and p.proname = any (strata.shard_functions() || array['shard_functions', 'make_shard_functions', 'in_shard', 'in_shard_rows', 'await_prepared', 'parts_of', 'partition_bounds',
                                                             'sample_predicate', 'period_expression', 'ratio', 'period_start', 'week_start', 'account', 'account_text'])
  loop
    perform create_distributed_function(routine);
  end loop;
end
$$;

comment on function strata.prepare_nodes() is
  'Gives every node of the cluster the roles of the warehouse and the functions that queries and folds call there; nodes that are added later get the functions from Citus.';
