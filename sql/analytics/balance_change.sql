create or replace function strata.balance_change(instant timestamptz default now(), asset bigint default null, account bytea default null)
returns table (account_address bytea, asset_id bigint, amount numeric, change_24h numeric, change_7d numeric, change_30d numeric)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
  if (asset is null) = (account is null) and asset is null then
    raise exception 'neither an account nor an asset was given' using errcode = 'invalid_parameter_value',
      hint = 'Give an account for all its assets, an asset for all its accounts, or both.';
  end if;
  return query
    select k.account_address, k.asset_id, coalesce(sum(k.balance) filter (where k.hours = 0), 0) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 24 then -k.balance else 0 end) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 168 then -k.balance else 0 end) * strata.scale_of(k.asset_id),
           sum(case k.hours when 0 then k.balance when 720 then -k.balance else 0 end) * strata.scale_of(k.asset_id)
      from (
        select b.account_address, b.asset_id, b.balance, h.hours
          from unnest(array[0, 24, 168, 720]) h (hours)
         cross join lateral strata.balances_at(instant - interval '1 hour' * h.hours, asset, account) b
      ) k
     where not exists (select from strata.burn_accounts n where n.account_address = k.account_address)
     group by k.account_address, k.asset_id
     order by 4 desc, k.account_address, k.asset_id;
end
$$;

comment on function strata.balance_change(timestamptz, bigint, bytea) is
  'Balances as of an instant, and how they changed over the 24 hours, 7 days and 30 days before it: of an account in all its assets, of all accounts in an asset, or of both given. In whole units; null and burn accounts, and those that had none at any of the four instants, are left out.';
