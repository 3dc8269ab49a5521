/** The `rows` load: a query's rows into a table of their own, plain or a managed partition set. */
import type { RecordBatch } from 'apache-arrow';
import { sql } from 'kysely';
import { createCopyEncoder, type CopyColumn, type CopyEncoder } from '../arrow/copy.ts';
import { integerField, timeField } from '../arrow/fields.ts';
import { recycleFrame } from '../arrow/frame.ts';
import { copyIn } from '../db/copy-in.ts';
import { on, type Pool } from '../db/query.ts';
import type { RowsConfig } from '../runtime/config.ts';
import { WarehouseError, withDetail } from '../runtime/errors.ts';
import { weekOf } from '../runtime/instant.ts';
import {
  addCounts,
  createPrepared,
  NOTHING,
  type Dataset,
  type LoadBuffer,
  type RangePlace,
} from './datasets.ts';
import { markSuperseded } from './history.ts';
import type { LabelTails } from './labels/in-memory.ts';
import { openLabelJoins, planLabelledWrite, type LabelledWrite } from './labels/on-load.ts';
import { openWeeks, outsideReason, partitionSetOf, type WeekKeeper } from './partitions/ensure.ts';
import { quarantine, rowAsJson, type Refused } from './quarantine.ts';
import type { RangeCount } from './state/store.ts';
import { BATCH_COLUMN, BLOCK_COLUMN, prepareTable, tableName, typesIn } from './target-table.ts';
import { rowsByPlace } from './transfer-rows.ts';

/** Rows of one range, as they came. */
interface Piece {
  readonly batch: RecordBatch;
  readonly place: RangePlace;
}

interface RowsBuffer extends LoadBuffer {
  readonly pieces: readonly Piece[];
  readonly weeks: ReadonlySet<number>;
  readonly refused: readonly Refused[];
}

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
  const opened = createPrepared<Opened>();
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
      opened.set({
        encoder: createCopyEncoder(schema, { columns }),
        copy: copyStatement(pool, table, columns),
        weeks,
        labels,
      });
    },
    createBuffer: () => createRowsBuffer(stream, config, hasBlocks, opened.get().weeks),
    reserve: async (buffer, open) => opened.get().weeks?.ensure((buffer as RowsBuffer).weeks, open),
    write: async (client, buffer) => {
      const { pieces, refused } = buffer as RowsBuffer;
      const { copy, encoder, labels } = opened.get();
      if (pieces.length > 0) {
        const encode = (tails: LabelTails | null) => encodePieces(stream, encoder, pieces, tails);
        if (labels !== null) await labels.write(client, encode);
        else await copyIn(client, copy, encode(null), { onSent: recycleFrame });
      }
      await quarantine(client, refused);
    },
    settle: async (client, entries) => opened.get().labels?.settle(client, entries),
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

const blockOf = (batch: RecordBatch, row: number | undefined, place: RangePlace): number => {
  const field = batch.schema.fields.find(
    (candidate) => candidate.name === BLOCK_COLUMN || candidate.name === 'block_num',
  );
  return field === undefined || row === undefined
    ? place.range.start
    : Number(batch.getChild(field.name)?.get(row) ?? place.range.start);
};

const createRowsBuffer = (
  stream: string,
  config: RowsConfig,
  hasBlocks: boolean,
  keeper: WeekKeeper | null,
): RowsBuffer => {
  const pieces: Piece[] = [];
  const weeks = new Set<number>();
  const refused: Refused[] = [];
  let rows = 0;
  const take = (batch: RecordBatch, place: RangePlace): RangeCount => {
    if (batch.numRows === 0) return NOTHING;
    const inspected = inspect(batch, place, config, hasBlocks, keeper);
    for (const week of inspected.weeks) weeks.add(week);
    refused.push(...inspected.refused);
    pieces.push(...inspected.kept.map((kept) => ({ batch: kept, place })));
    rows += inspected.count.rows;
    return inspected.count;
  };
  return {
    pieces,
    weeks,
    refused,
    get rows() {
      return rows;
    },
    append: (batch, places) => {
      const counts = new Map<string, RangeCount>();
      try {
        for (const [place, indices] of rowsByPlace(batch, places, config.network_column)) {
          for (const part of indices === null ? [batch] : slices(batch, indices)) {
            counts.set(
              place.range.network,
              addCounts(counts.get(place.range.network) ?? NOTHING, take(part, place)),
            );
          }
        }
      } catch (thrown) {
        if (!(thrown instanceof WarehouseError)) throw thrown;
        throw withDetail(thrown, {
          stream,
          ...(places[0] ? { network: places[0].range.network, block: places[0].range.start } : {}),
        });
      }
      return counts;
    },
    prepare: () => undefined,
    clear: () => {
      pieces.length = 0;
      weeks.clear();
      refused.length = 0;
      rows = 0;
    },
  };
};

/** A record batch looked through: which rows to load, which weeks they need, what was refused. */
interface Inspected {
  readonly kept: readonly RecordBatch[];
  readonly weeks: ReadonlySet<number>;
  readonly refused: readonly Refused[];
  readonly count: RangeCount;
}

const inspect = (
  batch: RecordBatch,
  place: RangePlace,
  config: RowsConfig,
  hasBlocks: boolean,
  keeper: WeekKeeper | null,
): Inspected => {
  if (hasBlocks) checkBlocks(batch, place, config.block);
  if (config.partition === undefined || keeper === null) {
    return { kept: [batch], weeks: new Set(), refused: [], count: { ...NOTHING, rows: batch.numRows } };
  }
  const column = config.columns?.[config.partition.time] ?? config.partition.time;
  const time = timeField(batch, column);
  const weeks = new Set<number>();
  const sane: number[] = [];
  const refused: Refused[] = [];
  let minTime = Infinity;
  let maxTime = -Infinity;
  for (let row = 0; row < batch.numRows; row++) {
    const at = time.isNull(row) ? null : time.at(row);
    const reason = at === null ? `${column} is null` : outsideReason(keeper.window, at, column, config.table);
    if (at === null || reason !== null) {
      refused.push({
        sourceId: place.sourceId,
        block: blockOf(batch, row, place),
        reason: reason ?? '',
        detail: rowAsJson(batch, row),
      });
      continue;
    }
    sane.push(row);
    weeks.add(weekOf(at));
    minTime = Math.min(minTime, at);
    maxTime = Math.max(maxTime, at);
  }
  const kept = refused.length === 0 ? [batch] : slices(batch, sane);
  const times = sane.length === 0 ? {} : { minTime, maxTime };
  return {
    kept,
    weeks,
    refused,
    count: { ...NOTHING, ...times, rows: sane.length, quarantined: refused.length },
  };
};

const checkBlocks = (batch: RecordBatch, { range }: RangePlace, column: string): void => {
  const block = integerField(batch, column);
  for (let row = 0; row < batch.numRows; row++) {
    const at = block.isNull(row) ? null : block.at(row);
    if (at === null || at < range.start || at > range.end) {
      throw new WarehouseError(
        'protocol',
        `a row of block ${at ?? 'null'} came with the range ${range.start}–${range.end}`,
        {
          row,
          column,
          remedy: 'Check that `block` names the column the server counts its ranges by.',
        },
      );
    }
  }
};

/** The given rows of a batch, as slices of neighbours. */
const slices = (batch: RecordBatch, indices: readonly number[]): RecordBatch[] => {
  const result: RecordBatch[] = [];
  for (let start = 0; start < indices.length;) {
    let end = start + 1;
    while (end < indices.length && indices[end] === indices[end - 1]! + 1) end++;
    result.push(batch.slice(indices[start], indices[end - 1]! + 1));
    start = end;
  }
  return result;
};
