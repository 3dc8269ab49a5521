/** The ledger in PostgreSQL, strata.stream_batches: on the connection it is made for, hence in the transaction of the rows. */
import { sql } from 'kysely';
import { batchId } from '../../chain/batch-id.ts';
import { LEDGER_HORIZON, type LedgerTail } from '../../chain/ledger-tail.ts';
import type { BlockRange, Watermark } from '../../chain/range.ts';
import type { BlockWindow } from '../../chain/window.ts';
import { on, type Client, type Pool } from '../../db/query.ts';
import { instantText } from '../../runtime/instant.ts';
import { FOLD_PARTITIONS } from '../balances.ts';
import { sourceOf } from '../stream-state.ts';
import { committedTwice, type Erasure, type LedgerEntry, type StateStore } from './store.ts';

/** Finds the source of a network, made on first use. */
export type SourceFinder = (network: string) => Promise<number>;

/**
 * The ledger of `stream`.
 *
 * @param sources where sources come from when they must not be made in the transaction of `connection`
 */
export const postgresStore = (
  connection: Client | Pool,
  stream: string,
  sources: SourceFinder = (network) => sourceOf(connection, stream, network),
): StateStore => ({
  isProcessed: async (range) => {
    const found = await on(connection)
      .selectFrom('stream_batches')
      .innerJoin('sources', 'sources.source_id', 'stream_batches.source_id')
      .select('start_block')
      .where('sources.stream', '=', stream)
      .where('sources.network', '=', range.network)
      .where('start_block', '=', range.start)
      .where('end_block', '=', range.end)
      .where('batch_id', '=', String(batchId(range)))
      .executeTakeFirst();
    return found !== undefined;
  },
  markProcessed: async (entries) => {
    for (const [network, ofNetwork] of Map.groupBy(entries, ({ range }) => range.network))
      await enter(connection, await sources(network), ofNetwork);
  },
  resumePosition: async (detectGaps) => {
    const { rows } = await sql<Watermark>`
      select src.network, last.number, last.hash
        from strata.sources src
        cross join lateral (
          select start_block from strata.stream_batches b where b.source_id = src.source_id order by start_block limit 1
        ) first
        cross join lateral (
          select b.end_block as number, b.hash from (
            select * from strata.stream_batches b
             where b.source_id = src.source_id and b.hash is not null
               and (not ${detectGaps} or b.start_block < (
                      select min(gap.from_block) from (${gapQuery(sql`src.source_id`, sql`first.start_block`, sql`null::bigint`)}) gap))
             order by b.start_block desc limit ${LEDGER_HORIZON}
          ) b order by b.end_block desc limit 1
        ) last
       where src.stream = ${stream} order by src.network`.execute(on(connection));
    return rows;
  },
  tails: async (before = null) => {
    const { rows } = await sql<BlockRange>`
      select src.network, b.start_block as start, b.end_block as "end", coalesce(b.hash, '') as hash, b.prev_hash as "prevHash",
             extract(epoch from b.block_time)::bigint as timestamp
        from strata.sources src
        cross join lateral (
          (select * from strata.stream_batches t where t.source_id = src.source_id and t.start_block < coalesce(${before}, 9223372036854775807)
            order by t.start_block desc limit ${LEDGER_HORIZON})
          union all
          (select * from strata.stream_batches t where t.source_id = src.source_id and t.start_block >= ${before}
            order by t.start_block limit 1)
        ) b
       where src.stream = ${stream} order by b.start_block`.execute(on(connection));
    return Map.groupBy(rows, ({ network }) => network) satisfies Map<string, LedgerTail>;
  },
  gaps: async (network, { from, to }) => {
    const source = sql`(select src.source_id from strata.sources src where src.stream = ${stream} and src.network = ${network})`;
    const { rows } = await sql<{ readonly from_block: number; readonly to_block: number | null }>`
      select from_block, to_block from (${gapQuery(source, sql`${from ?? 0}::bigint`, sql`${to}::bigint`)}) gap
       order by from_block`.execute(on(connection));
    return rows.map((row): BlockWindow => ({ from: row.from_block, to: row.to_block }));
  },
  invalidSpan: async (erasure) => {
    const row = await hitBy(connection, await sources(erasure.network), erasure);
    if (row.ranges === 0) return null;
    return { from: erasure.from, to: erasure.to, cutEnd: row.cut_end, minTime: row.min_time };
  },
  invalidate: async (erasure, cutRows = 0) =>
    invalidate(connection, await sources(erasure.network), erasure, cutRows),
  cleanup: (network, before, keep = LEDGER_HORIZON) => cleanup(connection, stream, network, before, keep),
});

const enter = async (
  connection: Client | Pool,
  sourceId: number,
  entries: readonly LedgerEntry[],
): Promise<void> => {
  await on(connection)
    .insertInto('stream_batches')
    .values(
      entries.map(({ range, count }) => ({
        source_id: sourceId,
        start_block: range.start,
        end_block: range.end,
        hash: range.hash === '' ? null : range.hash,
        prev_hash: range.prevHash,
        batch_id: batchId(range),
        row_count: count.rows,
        quarantined: count.quarantined,
        block_time: range.timestamp === null ? null : new Date(range.timestamp * 1000),
        min_time: count.minTime === null ? null : instantText(count.minTime),
        max_time: count.maxTime === null ? null : instantText(count.maxTime),
      })),
    )
    .execute()
    .catch((thrown: unknown) => {
      if ((thrown as { code?: string }).code !== UNIQUE_VIOLATION || entries[0] === undefined) throw thrown;
      throw committedTwice(entries[0].range, thrown);
    });
};

/** SQLSTATE unique_violation. */
const UNIQUE_VIOLATION = '23505';

type Piece = ReturnType<typeof sql>;

/**
 * The blocks from `from` to `to` (exclusive; null is open) that no range of the source covers. How far the ranges before
 * reach, not where the last of them ends, is what a range is compared with: one may lie inside another.
 */
const gapQuery = (source: Piece, from: Piece, to: Piece): Piece => sql`
  select greatest(h.reached + 1, ${from}) as from_block, h.start_block as to_block
    from (
      select b.start_block,
             max(b.end_block) over (order by b.start_block rows between unbounded preceding and 1 preceding) as reached
        from strata.stream_batches b
       where b.source_id = ${source} and b.end_block >= ${from} and b.start_block < coalesce(${to}, 9223372036854775807)
    ) h where h.start_block > greatest(h.reached + 1, ${from})
  union all
  select rest.from_block, ${to}
    from (select greatest(max(b.end_block) + 1, ${from}) as from_block from strata.stream_batches b
           where b.source_id = ${source} and b.start_block < coalesce(${to}, 9223372036854775807)) rest
   where ${to} is null or rest.from_block < ${to}`;

const hitBy = (connection: Client | Pool, sourceId: number, { from, to }: Erasure) =>
  on(connection)
    .selectFrom('stream_batches')
    .select((select) => [
      select.fn.min('min_time').as('min_time'),
      select.fn
        .max<number | null>(sql`end_block`)
        .filterWhere('start_block', '<', from)
        .as('cut_end'),
      select.fn.countAll<number>().as('ranges'),
    ])
    .where('source_id', '=', sourceId)
    .where('end_block', '>=', from)
    .$if(to !== null, (query) => query.where('start_block', '<=', to))
    .executeTakeFirstOrThrow();

const invalidate = async (
  connection: Client | Pool,
  sourceId: number,
  { from, to }: Erasure,
  cutRows: number,
): Promise<void> => {
  const database = on(connection);
  await database
    .deleteFrom('stream_batches')
    .where('source_id', '=', sourceId)
    .where('start_block', '>=', from)
    .$if(to !== null, (query) => query.where('start_block', '<=', to))
    .execute();
  const released = await database
    .deleteFrom('quarantine')
    .where('source_id', '=', sourceId)
    .where('block_num', '>=', from)
    .$if(to !== null, (query) => query.where('block_num', '<=', to))
    .returning('block_num')
    .execute();
  // What is left to cut is the one range that begins before `from`.
  await database
    .updateTable('stream_batches')
    .set({
      end_block: from - 1,
      hash: null,
      row_count: sql<number>`row_count - ${cutRows}`,
      quarantined: sql<number>`quarantined - (select count(*) from unnest(${released.map((row) => row.block_num)}::bigint[]) r(block) where r.block <= end_block)`,
      block_time: null,
      // Which of the rows without a label were behind the cut is not known.
      unmatched: null,
      dropped: null,
    })
    .where('source_id', '=', sourceId)
    .where('start_block', '<', from)
    .where('end_block', '>=', from)
    .execute();
};

/** An update of the first range of each run and a delete of the others: one statement, and never a moment without cover. */
const cleanup = async (
  connection: Client | Pool,
  stream: string,
  network: string,
  before: number,
  keep: number,
): Promise<number> => {
  const { rows } = await sql<{ readonly lost: number }>`
    with source as (
      select src.source_id,
             case st.load when 'transfers' then coalesce(
               (select min(p.folded_block) from strata.fold_progress p where p.source_id = src.source_id having count(*) = ${FOLD_PARTITIONS}), -1)
             else 9223372036854775807 end as folded
        from strata.sources src join strata.streams st on st.stream = src.stream
       where src.stream = ${stream} and src.network = ${network}
    ), kept as (
      select min(k.start_block) as first_block from (
        select b.start_block from strata.stream_batches b join source s using (source_id) order by b.start_block desc limit ${keep}
      ) k
    ), old as (
      select b.*, b.start_block - 1 is distinct from lag(b.end_block) over (order by b.start_block) as opens
        from strata.stream_batches b join source s using (source_id)
       where b.end_block < ${before} and b.end_block <= s.folded
         and b.start_block < coalesce((select first_block from kept), 9223372036854775807)
    ), runs as (
      select o.*, count(*) filter (where o.opens) over (order by o.start_block) as run from old o
    ), merged as (
      select min(r.start_block) as start_block, max(r.end_block) as end_block, sum(r.row_count) as row_count, sum(r.quarantined) as quarantined,
             case when count(r.unmatched) = count(*) then sum(r.unmatched) end as unmatched,
             case when count(r.dropped) = count(*) then sum(r.dropped) end as dropped,
             (array_agg(r.hash order by r.start_block desc))[1] as hash, (array_agg(r.block_time order by r.start_block desc))[1] as block_time,
             min(r.min_time) as min_time, max(r.max_time) as max_time, max(r.committed_at) as committed_at
        from runs r group by r.run having count(*) > 1
    ), gone as (
      delete from strata.stream_batches b using merged m, source s
       where b.source_id = s.source_id and b.start_block > m.start_block and b.start_block <= m.end_block
      returning b.start_block
    ), widened as (
      update strata.stream_batches b
         set end_block = m.end_block, hash = m.hash, row_count = m.row_count, quarantined = m.quarantined, unmatched = m.unmatched, dropped = m.dropped,
             block_time = m.block_time, min_time = m.min_time, max_time = m.max_time, committed_at = m.committed_at
        from merged m, source s where b.source_id = s.source_id and b.start_block = m.start_block
    )
    select count(*) as lost from gone`.execute(on(connection));
  return rows[0]?.lost ?? 0;
};
