/** The `rows` load: a query's rows into a table of their own, plain or a managed partition set. */
import { sql } from 'kysely';
import { createCopyEncoder, type CopyColumn, type CopyEncoder } from '../arrow/copy.ts';
import { recycleFrame } from '../arrow/frame.ts';
import { copyIn } from '../db/copy-in.ts';
import { on, type Pool } from '../db/query.ts';
import type { RowsConfig } from '../runtime/config.ts';
import { WarehouseError, withDetail } from '../runtime/errors.ts';
import { createPrepared, type Dataset } from './datasets.ts';
import { markSuperseded } from './history.ts';
import type { LabelTails } from './labels/in-memory.ts';
import { openLabelJoins, planLabelledWrite, type LabelledWrite } from './labels/on-load.ts';
import { openWeeks, partitionSetOf, type WeekKeeper } from './partitions/ensure.ts';
import { quarantine } from './quarantine.ts';
import { blockOf, createRowsBuffer, type Piece, type RowsBuffer } from './rows-buffer.ts';
import { BATCH_COLUMN, BLOCK_COLUMN, prepareTable, tableName, typesIn } from './target-table.ts';

interface Opened {
  readonly encoder: CopyEncoder;
  readonly copy: string;
  readonly weeks: WeekKeeper | null;
  /** Null where no labels are joined: rows go straight into the table. */
  readonly labels: LabelledWrite | null;
}

/** Nothing is sorted here; enough that a COPY is worth its start. */
const PART_ROWS = 131_072;

/**
 * The dataset of one configured stream.
 *
 * @param hasBlocks false for a server whose results carry no block ranges
 * @param now the present instant, for the sane window of a partition set
 * @param labelMemoryBytes up to which a label table is kept in memory
 */
export const createRows = (
  pool: Pool,
  stream: string,
  config: RowsConfig,
  hasBlocks: boolean,
  now: Date,
  labelMemoryBytes?: number,
): Dataset => {
  const name = tableName(config.table);
  const table = sql.id(name.schema, name.table);
  const { get, set } = createPrepared<Opened>();
  return {
    partRows: PART_ROWS,
    definition: {
      stream,
      load: 'rows',
      target: `${name.schema}.${name.table}`,
      grain: 'hour',
      definition: config,
    },
    sets: async () => (config.partition === undefined ? [] : [await partitionSetOf(pool, name)]),
    prepare: async (schema) => {
      const joins = await openLabelJoins(pool, stream, config);
      const columns = await prepareTable(
        pool,
        schema,
        config,
        hasBlocks ? config.block : null,
        joins.flatMap((join) => join.columns),
      );
      const labels =
        joins.length === 0
          ? null
          : planLabelledWrite(pool, config, columns, joins, await typesIn(pool, name), labelMemoryBytes);
      const weeks =
        config.partition === undefined ? null : await openWeeks(pool, await partitionSetOf(pool, name), now);
      set({
        encoder: createCopyEncoder(schema, { columns }),
        copy: copyStatement(pool, table, columns),
        weeks,
        labels,
      });
    },
    createBuffer: () => createRowsBuffer(stream, config, hasBlocks, get().weeks),
    reserve: async (buffer, open) => get().weeks?.ensure((buffer as RowsBuffer).weeks, open),
    write: async (client, buffer) => {
      const { pieces, refused } = buffer as RowsBuffer;
      const { copy, encoder, labels } = get();
      if (pieces.length > 0) {
        const encode = (tails: LabelTails | null) => encodePieces(stream, encoder, pieces, tails);
        if (labels !== null) await labels.write(client, encode);
        else await copyIn(client, copy, encode(null), { onSent: recycleFrame });
      }
      await quarantine(client, refused);
    },
    settle: async (client, entries) => get().labels?.settle(client, entries),
    erase: async (client, sourceId, span, from, to) => {
      const ofSource = sql`select batch_id from strata.stream_batches where source_id = ${sourceId} and end_block >= ${span.from}`;
      const upTo = to === null ? sql`` : sql` and ${sql.id(BLOCK_COLUMN)} <= ${to}`;
      const since =
        config.partition === undefined || span.minTime === null
          ? sql``
          : sql` and ${sql.id(config.partition.time)} >= ${span.minTime}`;
      const where = sql`${sql.id(BLOCK_COLUMN)} >= ${from}${upTo}${since} and ${sql.id(BATCH_COLUMN)} in (${ofSource})`;
      if (config.reorg === 'history') return markSuperseded(client, table, where);
      const deleted = await sql`delete from ${table} where ${where}`.execute(on(client));
      return Number(deleted.numAffectedRows ?? 0n);
    },
  };
};

const copyStatement = (
  pool: Pool,
  table: ReturnType<typeof sql.id>,
  columns: readonly CopyColumn[],
): string =>
  sql`copy ${table} (${sql.join(columns.map((column) => sql.id(column.name)))}) from stdin (format binary)`.compile(
    on(pool),
  ).sql;

function* encodePieces(
  stream: string,
  encoder: CopyEncoder,
  pieces: readonly Piece[],
  tails: LabelTails | null,
): Generator<Buffer, void> {
  yield encoder.header();
  for (const { batch, place } of pieces) {
    try {
      yield* encoder.encode(batch, { [BATCH_COLUMN]: place.batchId }, tails?.tailOf(batch, place.batchId));
    } catch (thrown) {
      if (!(thrown instanceof WarehouseError)) throw thrown;
      throw withDetail(thrown, {
        stream,
        network: place.range.network,
        block: blockOf(batch, thrown.detail.row, place),
      });
    }
  }
  yield encoder.trailer();
}
