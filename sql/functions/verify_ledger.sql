create or replace function strata.verify_ledger()
returns table (source_id smallint, ledger_rows bigint, stored_rows bigint)
language plpgsql stable
set search_path = pg_catalog, strata, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
declare
  since    timestamptz;
  observed timestamptz;
begin
  select s.changes_from, s.observations_from into since, observed from strata.balance_status s;
  return query execute format($verify$
    with ledger as (
      select b.source_id, sum(b.row_count)::bigint as total
        from strata.stream_batches b
        join strata.sources src on src.source_id = b.source_id
        join strata.streams st on st.stream = src.stream and st.load in ('transfers', 'snapshots')
       where b.min_time >= case st.load when 'transfers' then timestamptz %1$L else %2$L end group by b.source_id
    ), straddling as materialized (
      -- Of these a part is gone: what is left of them cannot be counted against the ledger.
      select b.source_id, b.start_block, b.end_block, b.min_time, b.max_time
        from strata.stream_batches b where b.min_time < greatest(timestamptz %1$L, timestamptz %2$L)
    ), present as (
      select c.source_id, count(*) as total from strata.balance_changes c where c.block_time >= %1$L group by c.source_id
      %3$s
      union all
      select s.source_id, -count(*) from straddling s join strata.balance_changes c
          on c.source_id = s.source_id and c.block_num between s.start_block and s.end_block
         and c.block_time >= %1$L and c.block_time <= s.max_time
       where s.min_time < %1$L and s.max_time >= %1$L group by s.source_id
      union all
      select r.source_id, count(*) from strata.snapshot_rows r where r.observed_at >= %2$L group by r.source_id
      union all
      select s.source_id, -count(*) from straddling s join strata.snapshot_rows r
          on r.source_id = s.source_id and r.block_num between s.start_block and s.end_block
         and r.observed_at >= %2$L and r.observed_at <= s.max_time
       where s.min_time < %2$L and s.max_time >= %2$L group by s.source_id
    ), stored as (
      select p.source_id, sum(p.total)::bigint as total from present p group by p.source_id
    )
    select coalesce(l.source_id, s.source_id), coalesce(l.total, 0), coalesce(s.total, 0)
      from ledger l full join stored s on s.source_id = l.source_id
     where coalesce(l.total, 0) <> coalesce(s.total, 0)
  $verify$, since, observed,
    (select string_agg(format('union all select c.source_id, count(*) from %s c group by c.source_id', w.changes), ' ')
       from strata.backfill_weeks w where w.state <> 'attached'));
end
$$;

comment on function strata.verify_ledger() is
  'Sources whose ledger counts other balance changes or snapshots than are stored. Where weeks of them were dropped, only batches wholly behind them are counted; weeks that are loaded beside the set count with it.';
