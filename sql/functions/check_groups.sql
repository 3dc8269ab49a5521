create or replace function strata.check_groups(set_name text, groups jsonb) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  fault text;
begin
  if groups is null then
    return true;
  end if;
  if jsonb_typeof(groups) <> 'array' or jsonb_array_length(groups) not between 1 and 1000 then
    fault := 'they must be an array of 1 to 1000 groups';
  elsif exists (select from jsonb_array_elements(groups) g
                 where jsonb_typeof(g -> 'name') is distinct from 'string' or jsonb_typeof(g -> 'values') is distinct from 'array') then
    fault := 'each must have a name and an array of values';
  elsif exists (select from jsonb_array_elements(groups) g, jsonb_array_elements(g -> 'values') v where jsonb_typeof(v) <> 'string')
     or exists (select from jsonb_array_elements(groups) g where jsonb_array_length(g -> 'values') = 0) then
    fault := 'values must be strings, at least one in each group';
  else
    -- A week's name is the set's and its date; behind it comes _ and the group.
    select format('%s is no name for a group of %s: it must be lower-case letters, digits and _, begin with a letter, and be at most %s bytes long',
                  quote_literal(g ->> 'name'), check_groups.set_name, 51 - octet_length(check_groups.set_name)) into fault
      from jsonb_array_elements(groups) g
     where g ->> 'name' !~ '^[a-z][a-z0-9_]*$' or octet_length(g ->> 'name') > 51 - octet_length(check_groups.set_name)
        or g ->> 'name' in ('default', 'consolidated') or g ->> 'name' ~ '^hash_[0-9]+$'
     limit 1;
    fault := coalesce(fault,
      (select format('%s is the name of two groups', quote_literal(g ->> 'name')) from jsonb_array_elements(groups) g
        group by g ->> 'name' having count(*) > 1 limit 1),
      (select format('%s is in a group twice, or in two', quote_literal(v)) from jsonb_array_elements(groups) g, jsonb_array_elements_text(g -> 'values') v
        group by v having count(*) > 1 limit 1));
  end if;
  if fault is not null then
    raise exception 'the groups of % are not usable: %', set_name, fault
      using errcode = 'invalid_parameter_value', hint = 'Write [{"name": "holding", "values": ["xrd_holding", "lsu_holding"]}, …].';
  end if;
  return true;
end
$$;

comment on function strata.check_groups(text, jsonb) is
  'True for groups that a set of list layout can be cut by (or null); an error that says what is wrong with them otherwise.';
