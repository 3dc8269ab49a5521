/** The ledger of streams in PostgreSQL: who may load, what is loaded, where to go on. Written in the transaction of the rows. */
import { sql } from 'kysely';
import { batchId } from '../chain/batch-id.ts';
import { LEDGER_HORIZON, type LedgerTail } from '../chain/protocol.ts';
import type { BlockRange } from '../chain/range.ts';
import { on, type Client, type Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { instantText } from '../runtime/instant.ts';

/** What a stream is, as far as the database keeps it. */
export interface StreamDefinition {
  readonly stream: string;
  readonly load: 'transfers' | 'snapshots' | 'rows';
  /** The table its rows go to. */
  readonly target: string;
  /** Period of its balance rows. */
  readonly grain: 'hour' | 'day';
  /** The rest of its configuration, without secrets. */
  readonly definition: unknown;
}

/** The right to commit for a stream, until somebody else claims it. */
export interface StreamClaim {
  readonly stream: string;
  readonly epoch: number;
}

/** What a range brought: counted per range, kept in its ledger row. */
export interface RangeCount {
  readonly rows: number;
  readonly quarantined: number;
  /** Earliest and latest time among the rows, microseconds since 2000-01-01 UTC; null where rows carry no time. */
  readonly minTime: number | null;
  readonly maxTime: number | null;
}

/** A range about to be committed. */
export interface LedgerEntry {
  readonly range: BlockRange;
  readonly count: RangeCount;
}

/**
 * Registers the stream and takes it over: commits under an older claim are refused from here on.
 *
 * @throws WarehouseError `config` when the name already stands for another load or table.
 */
export const claimStream = async (pool: Pool, definition: StreamDefinition): Promise<StreamClaim> => {
  const row = await on(pool)
    .insertInto('streams')
    .values({ ...definition, definition: JSON.stringify(definition.definition), epoch: 1 })
    .onConflict((conflict) =>
      conflict
        .column('stream')
        .doUpdateSet((set) => ({
          definition: set.ref('excluded.definition'),
          epoch: sql<number>`streams.epoch + 1`,
          updated_at: sql<Date>`now()`,
        }))
        .whereRef('streams.load', '=', 'excluded.load')
        .whereRef('streams.target', '=', 'excluded.target')
        .whereRef('streams.grain', '=', 'excluded.grain'),
    )
    .returning('epoch')
    .executeTakeFirst();
  if (row === undefined) {
    throw new WarehouseError(
      'config',
      `stream ${definition.stream} already loads something else, into another table or by another grain`,
      {
        stream: definition.stream,
        remedy: 'Give the changed stream a new name; the old ledger belongs to the old table.',
      },
    );
  }
  return { stream: definition.stream, epoch: row.epoch };
};

/**
 * Refuses to go on when somebody else has claimed the stream since. Call it first in the transaction: it also makes a
 * later claim wait until this transaction has ended.
 *
 * @throws WarehouseError `conflict`
 */
export const holdClaim = async (client: Client, claim: StreamClaim): Promise<void> => {
  const row = await on(client)
    .selectFrom('streams')
    .select('epoch')
    .where('stream', '=', claim.stream)
    .forShare()
    .executeTakeFirst();
  if (row?.epoch !== claim.epoch) {
    throw new WarehouseError('conflict', `another process has taken over stream ${claim.stream}`, {
      stream: claim.stream,
      remedy: 'Let that process go on, or stop it and start this one again.',
    });
  }
};

/** The source of a network of a stream, made on first use. */
export const sourceOf = async (pool: Pool, stream: string, network: string): Promise<number> => {
  const find = on(pool)
    .selectFrom('sources')
    .select('source_id')
    .where('stream', '=', stream)
    .where('network', '=', network);
  // Looked for first: an insert draws an identity even where it finds the row there, and there are but 32,767.
  const known = await find.executeTakeFirst();
  if (known !== undefined) return known.source_id;
  await on(pool)
    .insertInto('sources')
    .values({ stream, network })
    .onConflict((conflict) => conflict.columns(['stream', 'network']).doNothing())
    .execute();
  return (await find.executeTakeFirstOrThrow()).source_id;
};

/** What is loaded of every network of the stream: the newest {@link LEDGER_HORIZON} ranges each. */
export const loadTails = async (pool: Pool, stream: string): Promise<Map<string, LedgerTail>> => {
  const tails = new Map<string, LedgerTail>();
  const sources = await on(pool).selectFrom('sources').selectAll().where('stream', '=', stream).execute();
  for (const { source_id, network } of sources) {
    const rows = await on(pool)
      .selectFrom('stream_batches')
      .select(['start_block', 'end_block', 'hash', 'prev_hash', 'block_time'])
      .where('source_id', '=', source_id)
      .orderBy('start_block', 'desc')
      .limit(LEDGER_HORIZON)
      .execute();
    const tail = rows.reverse().map((row) => ({
      network,
      start: row.start_block,
      end: row.end_block,
      hash: row.hash ?? '',
      prevHash: row.prev_hash,
      timestamp: row.block_time === null ? null : row.block_time.getTime() / 1000,
    }));
    if (tail.length > 0) tails.set(network, tail);
  }
  return tails;
};

/** Writes the ledger rows of ranges that are committed now. */
export const recordRanges = async (
  client: Client,
  sourceId: number,
  entries: readonly LedgerEntry[],
): Promise<void> => {
  if (entries.length === 0) return;
  await on(client)
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
    .execute();
};

/** The part of the ledger that a reorg invalidates. */
export interface InvalidSpan {
  /** Every block from here on is off the chain. */
  readonly from: number;
  /** End of the range that the fork cuts in two; null when the fork starts at the start of a range. */
  readonly cutEnd: number | null;
  /** No invalid row is earlier than this; null where times are not known. */
  readonly minTime: Date | null;
}

/** What of the ledger lies at or behind block `from`; null when nothing does. */
export const invalidSpan = async (
  client: Client,
  sourceId: number,
  from: number,
): Promise<InvalidSpan | null> => {
  const row = await on(client)
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
    .executeTakeFirstOrThrow();
  return row.ranges === 0 ? null : { from, cutEnd: row.cut_end, minTime: row.min_time };
};

/** Shortens the ledger to the blocks before `span.from`; `cutRows` of the cut range's rows were erased. */
export const invalidateFrom = async (
  client: Client,
  sourceId: number,
  span: InvalidSpan,
  parentHash: string | null,
  cutRows: number,
): Promise<void> => {
  const database = on(client);
  await database
    .deleteFrom('stream_batches')
    .where('source_id', '=', sourceId)
    .where('start_block', '>=', span.from)
    .execute();
  const released = await database
    .deleteFrom('quarantine')
    .where('source_id', '=', sourceId)
    .where('block_num', '>=', span.from)
    .returning('block_num')
    .execute();
  const cutQuarantined = released.filter((row) => row.block_num <= (span.cutEnd ?? -1)).length;
  await database
    .updateTable('stream_batches')
    .set({
      end_block: span.from - 1,
      hash: parentHash,
      row_count: sql<number>`row_count - ${cutRows}`,
      quarantined: sql<number>`quarantined - ${cutQuarantined}`,
      // Which of the rows without a label were behind the cut is not known.
      unmatched: null,
      dropped: null,
      block_time: null,
    })
    .where('source_id', '=', sourceId)
    .where('end_block', '>=', span.from)
    .execute();
};
