create or replace function strata.build_indexes_like(model regclass, target regclass, packed boolean default false) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  command text;
begin
  for command in
    select i.statement from strata.index_statements(model, target::text, packed) i
  loop
    execute command;
  end loop;
end
$$;

comment on function strata.build_indexes_like(regclass, regclass, boolean) is
  'Builds on one table the primary key, unique constraints and indexes of another, so that an ATTACH in its place finds them; see index_statements().';
