create or replace function strata.sample_predicate(relation text, one_in int) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return case
  when one_in <= 1 then 'true'
  else format('mod((''x'' || substr(md5(%I.account_address), 1, 7))::bit(28)::int, %s) = 0', relation, one_in)
end;

comment on function strata.sample_predicate(text, int) is
  'SQL condition that holds for one in so many accounts of a relation, the same ones each time; as text, because called per row a function costs more than what it chooses.';
