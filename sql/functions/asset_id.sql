create or replace function strata.asset_id(network text, standard text, asset_key text, token_id numeric default null) returns bigint
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
return (
  'x' || encode(substr(sha256(convert_to(
    network || E'\x1f' || standard || E'\x1f' || asset_key || E'\x1f' || coalesce(trim_scale(token_id)::text, ''), 'UTF8')), 1, 8), 'hex')
)::bit(64)::bigint;

comment on function strata.asset_id(text, text, text, numeric) is
  'Identity of an asset: the first 8 bytes of SHA-256 over network, standard, key and token id (joined by 0x1f) as bigint. The same on every worker and node; the natural key is unique, so a collision is an error.';
