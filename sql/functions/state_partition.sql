create or replace function strata.state_partition(modulus int, remainder int) returns regclass
language sql stable
set search_path = pg_catalog, strata, pg_temp
begin atomic
  select i.inhrelid::regclass
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = 'strata.account_balances_current'::regclass
     and pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES WITH (modulus %s, remainder %s)', modulus, remainder);
end;

comment on function strata.state_partition(int, int) is
  'The partition of the state that holds exactly the accounts of this hash partition; null where the state is cut otherwise.';
