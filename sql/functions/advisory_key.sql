create or replace function strata.advisory_key(name text) returns bigint
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return ('x' || encode(substr(sha256(convert_to('pgstrata:' || name, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint;

comment on function strata.advisory_key(text) is
  'The key of a named advisory lock, the first 8 bytes of SHA-256: the same as the client''s. Names in use: ''maintain <set>'' (one maintainer per set), ''gate <set>'' (shared by each load, exclusive for a swap).';
