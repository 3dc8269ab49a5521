create or replace function strata.require_asset(asset bigint) returns bigint
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if not exists (select from strata.assets a where a.asset_id = asset) then
    raise exception 'there is no asset %', coalesce(asset::text, 'null')
      using errcode = 'undefined_object', hint = 'Assets and their ids are the rows of strata.assets.';
  end if;
  return asset;
end
$$;

comment on function strata.require_asset(bigint) is 'The asset, or an error that says where assets are listed.';
