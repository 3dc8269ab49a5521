/** The COPY BINARY encoder: record batches in, complete CopyData frames out, no row objects between. */
import type { Data, RecordBatch, Schema } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';
import { bitAt, validityOf } from './column.ts';
import type { ConstantValue } from './constant.ts';
import { writeConstant } from './constant.ts';
import { badValue, located } from './faults.ts';
import type { OpenFrame } from './frame.ts';
import {
  DEFAULT_CHUNK_BYTES,
  FRAME_HEAD_BYTES,
  headerFrame,
  MAX_CHUNK_BYTES,
  MAX_FRAME_BYTES,
  openFrame,
  sealFrame,
  trailerFrame,
} from './frame.ts';
import { findField } from './source-field.ts';
import type { PgType } from './types.ts';
import { requireConversion, typeText } from './types.ts';
import type { WriteField } from './writer.ts';
import { bindWriter } from './writers.ts';

/** One column of the target table. */
export interface CopyColumn {
  /** Its name in the table, for error messages. */
  readonly name: string;
  /** The Arrow field it comes from, or the one value of every row, which `encode` may replace. */
  readonly source: string | { readonly constant: ConstantValue };
  readonly pgType: PgType;
  /** False refuses nulls here, before PostgreSQL would. */
  readonly nullable: boolean;
}

/** Settings of an encoder. */
export interface CopyOptions {
  /** In the order of the COPY's column list. */
  readonly columns: readonly CopyColumn[];
  /** Size of a frame, default 256 KiB, at most 16 MiB; only a single larger row makes a larger frame. */
  readonly chunkBytes?: number;
}

/** Values of constant columns for one call of `encode`, by column name. */
export type Constants = Readonly<Record<string, ConstantValue>>;

/** Fields that stand behind those of the columns: ready, as COPY BINARY has them. */
export interface RowTail {
  /** How many there are in every row. */
  readonly fields: number;
  /** Whether the row is written at all; null writes all. */
  readonly takes: ((row: number) => boolean) | null;
  /** At least the bytes that rows [first, last) take. */
  bound(first: number, last: number): number;
  /** Writes them, each with its length word, at `pos`; returns the position behind them. */
  readonly write: WriteField;
}

/** Encodes the batches of one schema for one COPY … FROM STDIN (FORMAT binary). */
export interface CopyEncoder {
  /** The frame that must come first. */
  header(): Buffer;
  /**
   * The rows of a batch, as frames: each is one complete CopyData message. Lazy: a frame is made when it is asked for,
   * and is not touched again.
   *
   * @throws WarehouseError `data`, with column, row (in the batch) and value, for what PostgreSQL cannot hold. Frames
   * may have been yielded by then: the COPY must be aborted, so that no torn batch is ever visible.
   */
  encode(batch: RecordBatch, constants?: Constants, tail?: RowTail): Generator<Buffer, void>;
  /** The frame that must come last. */
  trailer(): Buffer;
}

/** Room is checked once per so many rows. */
const BLOCK_ROWS = 64;

const ROW_HEAD_BYTES = 2;
const NULL_FIELD_BYTES = 4;

/** A column ready to be written: of one batch, or constant. */
interface BoundColumn {
  readonly name: string;
  readonly write: WriteField;
  readonly bound: (first: number, last: number) => number;
  readonly bitmap: Uint8Array | null;
  readonly bitOffset: number;
}

/** What was decided once per schema. */
interface PlannedColumn extends CopyColumn {
  /** Index and type of the source field; null for a constant. */
  readonly field: { readonly index: number; readonly type: string } | null;
}

const planColumn = (schema: Schema, column: CopyColumn): PlannedColumn => {
  if (typeof column.source !== 'string') return { ...column, field: null };
  const { index, field } = findField(schema, column.source);
  requireConversion(field, column.pgType);
  return { ...column, field: { index, type: typeText(field.type) } };
};

const constantOf = (name: string, constants: Constants, preset: ConstantValue): ConstantValue => {
  const given = constants[name];
  return given === undefined ? preset : given;
};

const bindConstant = (column: CopyColumn, value: ConstantValue): BoundColumn => {
  if (value === null && !column.nullable)
    throw new WarehouseError('data', 'null for a column that is NOT NULL', { column: column.name });
  const { write, bound } = writeConstant(value, column.pgType);
  return { name: column.name, write, bound, bitmap: null, bitOffset: 0 };
};

const refuseNull = (bitmap: Uint8Array, offset: number, length: number): void => {
  for (let row = 0; row < length; row++)
    if (!bitAt(bitmap, offset + row))
      throw new WarehouseError('data', 'null for a column that is NOT NULL', {
        row,
        remedy: 'Filter nulls out in the query, or drop the NOT NULL of the column.',
      });
};

const bindData = (column: CopyColumn, data: Data): BoundColumn => {
  const { bitmap, offset } = validityOf(data);
  if (bitmap !== null && !column.nullable) refuseNull(bitmap, offset, data.length);
  const { write, bound } = bindWriter(data, column.pgType);
  return { name: column.name, write, bound, bitmap, bitOffset: offset };
};

const bindColumn = (column: PlannedColumn, batch: RecordBatch, constants: Constants): BoundColumn => {
  try {
    if (typeof column.source !== 'string')
      return bindConstant(column, constantOf(column.name, constants, column.source.constant));
    const data = batch.data.children[column.field!.index];
    if (data === undefined || typeText(data.type) !== column.field!.type)
      throw new WarehouseError('internal', 'the batch is not of the schema of this encoder');
    return bindData(column, data);
  } catch (thrown) {
    throw located(thrown, { column: column.name });
  }
};

const boundOf = (
  columns: readonly BoundColumn[],
  tail: RowTail | undefined,
  first: number,
  last: number,
): number => {
  let bytes = (last - first) * ROW_HEAD_BYTES + (tail?.bound(first, last) ?? 0);
  for (const { name, bound } of columns) {
    try {
      bytes += bound(first, last);
    } catch (thrown) {
      throw located(thrown, { column: name });
    }
  }
  return bytes;
};

/** Writes rows [first, last) from `start` on; returns the position behind them. */
const writeRows = (
  columns: readonly BoundColumn[],
  first: number,
  last: number,
  { bytes, view }: OpenFrame,
  start: number,
  tail: RowTail | undefined,
): number => {
  const count = columns.length;
  const fields = count + (tail?.fields ?? 0);
  const takes = tail?.takes ?? null;
  let pos = start;
  let row = first;
  let index = 0;
  try {
    for (; row < last; row++) {
      if (takes !== null && !takes(row)) continue;
      view.setInt16(pos, fields);
      pos += ROW_HEAD_BYTES;
      for (index = 0; index < count; index++) {
        const column = columns[index]!;
        if (column.bitmap !== null && !bitAt(column.bitmap, column.bitOffset + row)) {
          view.setInt32(pos, -1);
          pos += NULL_FIELD_BYTES;
        } else pos = column.write(row, bytes, view, pos);
      }
      if (tail !== undefined) pos = tail.write(row, bytes, view, pos);
    }
  } catch (thrown) {
    throw located(thrown, { column: columns[index]!.name, row });
  }
  return pos;
};

/** A row larger than this cannot be sent in one message. */
const requireRowLength = (bytes: number, row: number): void => {
  if (bytes + FRAME_HEAD_BYTES <= MAX_FRAME_BYTES) return;
  throw located(
    badValue('a row of more than 1 GiB', `${bytes} bytes`, 'Cut its widest column in the query.'),
    { row },
  );
};

const encodeRows = function* (
  columns: readonly BoundColumn[],
  rows: number,
  chunkBytes: number,
  tail: RowTail | undefined,
): Generator<Buffer, void> {
  let frame = openFrame(chunkBytes);
  let pos = FRAME_HEAD_BYTES;
  let blockRows = BLOCK_ROWS;
  for (let first = 0; first < rows;) {
    const last = Math.min(first + blockRows, rows);
    const bound = boundOf(columns, tail, first, last);
    const tooLarge = bound + FRAME_HEAD_BYTES > chunkBytes;
    if (tooLarge && last - first > 1) {
      // Wide rows: check room more often. The halves of what was rendered stay rendered, see `writeJsonb`.
      blockRows = (last - first) >> 1;
      continue;
    }
    if (tooLarge) requireRowLength(bound, first);
    if (pos + bound > frame.bytes.length) {
      if (pos > FRAME_HEAD_BYTES) yield sealFrame(frame, pos);
      frame = openFrame(Math.max(chunkBytes, FRAME_HEAD_BYTES + bound));
      pos = FRAME_HEAD_BYTES;
    }
    pos = writeRows(columns, first, last, frame, pos, tail);
    first = last;
  }
  if (pos > FRAME_HEAD_BYTES) yield sealFrame(frame, pos);
};

/**
 * Makes an encoder for batches of one schema.
 *
 * @throws WarehouseError `data` when a source column is missing, or its type may not go into the target's
 */
export const createCopyEncoder = (schema: Schema, options: CopyOptions): CopyEncoder => {
  const planned = options.columns.map((column) => planColumn(schema, column));
  const chunkBytes = Math.min(options.chunkBytes ?? DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES);
  return {
    header: headerFrame,
    *encode(batch, constants = {}, tail) {
      if (batch.numRows === 0) return;
      const columns = planned.map((column) => bindColumn(column, batch, constants));
      yield* encodeRows(columns, batch.numRows, chunkBytes, tail);
    },
    trailer: trailerFrame,
  };
};
