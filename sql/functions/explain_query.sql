create or replace function strata.explain_query(set_name text, start_time timestamptz, end_time timestamptz, key text default null)
returns table (query_plan text)
language plpgsql
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
#variable_conflict use_column
declare
  s        strata.partition_sets := strata.require_set(explain_query.set_name);
  key_type regtype := (select a.atttypid from pg_attribute a where a.attrelid = s.parent and a.attname = s.hash_column);
  question text;
  plan     jsonb;
begin
  question := format('select * from %s where %I >= %L and %2$I < %4$L', s.parent, s.time_column, start_time, end_time);
  if explain_query.key is not null then
    -- The account as people write it; a literal of the column's own type, or nothing is pruned.
    question := question || format(' and %I = %L::%s', s.hash_column,
      case when key_type = 'bytea'::regtype then strata.account(explain_query.key)::text else explain_query.key end, key_type);
  end if;
  return query execute 'explain ' || question;
  execute 'explain (format json) ' || question into plan;
  return query
    select format('Partitions read: %s of %s', count(distinct node ->> 'Relation Name'),
                  (select count(*) from pg_partition_tree(s.parent) t where t.isleaf and t.relid <> s.parent))
      from jsonb_path_query(plan, 'strict $.** ? (exists (@."Relation Name"))') node;
end
$$;

comment on function strata.explain_query(text, timestamptz, timestamptz, text) is
  'The plan of reading a set between two instants, for one account (or other hash key, as text) where it is given, and how many partitions it reads. Nothing is executed.';
