create or replace function strata.require_set(set_name text) returns strata.partition_sets
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  s strata.partition_sets;
begin
  select * into s from strata.partition_sets p where p.set_name = require_set.set_name;
  if s.set_name is null then
    raise exception 'there is no partition set %', coalesce(quote_literal(require_set.set_name), 'null')
      using errcode = 'undefined_object', hint = 'The managed sets are the rows of strata.partition_sets.';
  end if;
  return s;
end
$$;

comment on function strata.require_set(text) is
  'The policy of a managed set, or an error that says where the sets are listed.';
