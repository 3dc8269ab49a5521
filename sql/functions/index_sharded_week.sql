create or replace function strata.index_sharded_week(set_name text, week regclass) returns void
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
begin
  if set_name = 'balance_changes' then
    execute format('create index on %s using brin (block_time, block_num)', week);
  end if;
end
$$;

comment on function strata.index_sharded_week(text, regclass) is
  'Indexes of a week on a cluster that its set cannot have as a whole: a week that is stored by column takes no BRIN index, so balance_changes itself has none there.';
