create or replace function strata.list_shards() returns int
language plpgsql
set search_path = pg_catalog, strata, pg_temp
as $$
declare
  listed int;
begin
  create table strata.shards (
    account_address bytea primary key,
    shard_id        bigint not null,
    stamp           text not null default '',
    calls           bigint not null default 0
  ) with (fillfactor = 50);
  comment on table strata.shards is 'One row in each shard, which says which one it is: what is called for every row is called in every shard';
  comment on column strata.shards.account_address is 'Bytes that fall into this shard';
  comment on column strata.shards.stamp is 'Version of the functions that work in it: see strata.shard_stamp()';
  comment on column strata.shards.calls is 'Calls that may have written; raising it makes Citus commit the shard in two phases';
  perform create_distributed_table('strata.shards', 'account_address', colocate_with => 'strata.balance_changes');
  grant select, update on strata.shards to strata_loader, strata_maintainer;
  grant select on strata.shards to strata_reader;
  grant usage on schema strata_shards to strata_reader, strata_loader, strata_maintainer;

  -- Bytes are drawn until every shard has some: for 1024 shards that takes some ten thousand.
  for drawn in 0 .. 200 loop
    insert into strata.shards (account_address, shard_id)
    select distinct on (k.shard_id) k.account_address, k.shard_id
      from (select int4send(i) as account_address, get_shard_id_for_distribution_column('strata.shards', int4send(i)) as shard_id
              from generate_series(drawn * 1000, drawn * 1000 + 999) i) k
     where k.shard_id not in (select s.shard_id from strata.shards s)
     order by k.shard_id, k.account_address;
    select count(*) into listed from strata.shards;
    exit when listed = (select count(*) from pg_dist_shard d where d.logicalrelid = 'strata.shards'::regclass);
  end loop;
  return listed;
end
$$;

comment on function strata.list_shards() is
  'The part of distribute() that makes the table of shards.';
