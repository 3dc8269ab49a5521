create or replace function strata.state_is_lost() returns boolean
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  -- Step by step: a statement that names account_balances locks every week, and each fold comes through here.
  if exists (select from strata.account_balances_current) then
    return false;
  end if;
  if exists (select from strata.account_balances_opening) then
    return true;
  end if;
  if not exists (
    with recursive part as (
      select i.inhrelid from pg_inherits i where i.inhparent = 'strata.account_balances'::regclass
      union all
      select i.inhrelid from pg_inherits i join part on part.inhrelid = i.inhparent
    ), leaves as materialized (
      -- Apart from the question: asked of each table there is, it would lock them all for a moment.
      select c.oid from part join pg_class c on c.oid = part.inhrelid and c.relkind = 'r'
    )
    select from leaves where pg_relation_size(leaves.oid) > 0
  ) then
    return false;
  end if;
  return exists (select from strata.account_balances);
end
$$;

comment on function strata.state_is_lost() is
  'Whether account_balances_current is empty beside balances: truncated, or not restored.';
