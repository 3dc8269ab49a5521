create or replace function strata.account_text(account_address bytea) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return case
  when length(account_address) in (20, 32) and encode(account_address, 'escape') ~ '\\' then '0x' || encode(account_address, 'hex')
  -- Printable UTF-8, judged on the hex digits: an EXCEPTION block around convert_from() would not be parallel safe.
  -- Text that looks like hex would read back as other bytes.
  when encode(account_address, 'hex') ~ ('^(?:[2-7][0-9a-e]|[2-6]f|(?:c[2-9a-f]|d[0-9a-f])[89ab][0-9a-f]|e0[ab][0-9a-f][89ab][0-9a-f]'
      || '|(?:e[1-9a-c]|e[ef])(?:[89ab][0-9a-f]){2}|ed[89][0-9a-f][89ab][0-9a-f]|f0[9ab][0-9a-f](?:[89ab][0-9a-f]){2}'
      || '|f[1-3](?:[89ab][0-9a-f]){3}|f48[0-9a-f](?:[89ab][0-9a-f]){2})*$')
    and encode(account_address, 'escape') !~ '^0x([0-9a-fA-F]{2})*$'
    then convert_from(account_address, 'UTF8')
  else '0x' || encode(account_address, 'hex')
end;

comment on function strata.account_text(bytea) is
  'Account as people write it: the text where the bytes are printable UTF-8, else 0x… hex. strata.account() reads either back to the same bytes.';
