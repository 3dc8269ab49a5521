create or replace function strata.role_text(role oid) returns text
language sql stable
set search_path = pg_catalog, pg_temp
return case when role = 0 then 'public' else quote_ident(pg_get_userbyid(role)) end;

comment on function strata.role_text(oid) is 'A role as it stands in GRANT and CREATE POLICY; 0 is public.';
