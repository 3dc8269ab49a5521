create or replace function strata.account(address text) returns bytea
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
return case
  when address ~ '^0x([0-9a-fA-F]{2})*$' then decode(substr(address, 3), 'hex')
  else convert_to(address, 'UTF8')
end;

comment on function strata.account(text) is
  'Account as stored: 0x… hex is its bytes, anything else (bech32, account number) its UTF-8 bytes. Immutable, so a literal prunes hash partitions.';
