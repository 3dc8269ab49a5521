/** Rows of a query as an Arrow IPC stream: a schema, record batches as they fill, an end marker. */
import {
  Int64,
  makeData,
  RecordBatch,
  RecordBatchStreamWriter,
  Schema,
  Field,
  Struct,
  TimestampMicrosecond,
  Utf8,
} from 'apache-arrow';
import type { Data, DataType } from 'apache-arrow';

/** A column of the result. Numbers are exact at any size, so they are text. */
export interface ResultColumn {
  readonly name: string;
  readonly type: 'text' | 'integer' | 'instant';
}

type Row = Readonly<Record<string, unknown>>;

/** Rows of a record batch: enough to make its header cheap, and few enough to hold. */
const BATCH_ROWS = 4_096;
/** Continuation marker and length of nothing: the end of a stream. */
const END_BYTES = 8;
const MICROS_PER_MILLI = 1000n;

const typeOf = ({ type }: ResultColumn): DataType =>
  type === 'integer' ? new Int64() : type === 'instant' ? new TimestampMicrosecond('UTC') : new Utf8();

/** Which rows have a value, a bit each, the lowest first; null where all have one. */
const validityOf = (values: readonly unknown[]): Uint8Array | null => {
  if (!values.includes(null)) return null;
  const bits = new Uint8Array((values.length + 7) >> 3);
  for (let row = 0; row < values.length; row++) if (values[row] !== null) bits[row >> 3]! |= 1 << (row & 7);
  return bits;
};

const integersOf = (values: readonly unknown[], type: ResultColumn['type']): BigInt64Array => {
  const integers = new BigInt64Array(values.length);
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (value !== null)
      integers[row] =
        type === 'instant' ? BigInt((value as Date).getTime()) * MICROS_PER_MILLI : BigInt(value as number);
  }
  return integers;
};

/** All texts in a row, and where each begins. */
const textsOf = (
  values: readonly unknown[],
): { readonly offsets: Int32Array; readonly bytes: Uint8Array } => {
  const offsets = new Int32Array(values.length + 1);
  for (let row = 0; row < values.length; row++)
    offsets[row + 1] = offsets[row]! + Buffer.byteLength((values[row] ?? '') as string);
  const bytes = Buffer.allocUnsafe(offsets[values.length]!);
  for (let row = 0; row < values.length; row++) bytes.write((values[row] ?? '') as string, offsets[row]!);
  return { offsets, bytes: new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length) };
};

const dataOf = ({ name, type }: ResultColumn, rows: readonly Row[]): Data => {
  const values = rows.map((row) => row[name] ?? null);
  const nullBitmap = validityOf(values);
  const shared = { length: values.length, nullBitmap, nullCount: nullBitmap === null ? 0 : -1 };
  if (type === 'text') {
    const { offsets, bytes } = textsOf(values);
    return makeData({ ...shared, type: new Utf8(), valueOffsets: offsets, data: bytes });
  }
  const data = integersOf(values, type);
  return type === 'integer'
    ? makeData({ ...shared, type: new Int64(), data })
    : makeData({ ...shared, type: new TimestampMicrosecond('UTC'), data });
};

const batchOf = (schema: Schema, columns: readonly ResultColumn[], rows: readonly Row[]): RecordBatch =>
  new RecordBatch(
    schema,
    makeData({
      type: new Struct(schema.fields),
      length: rows.length,
      children: columns.map((column) => dataOf(column, rows)),
    }),
  );

/** A stream of its own: schema, batch, end. */
const streamOf = (batch: RecordBatch): Buffer => {
  const bytes = new RecordBatchStreamWriter().writeAll([batch]).toUint8Array(true);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
};

/** Bytes of the message that a stream begins with: marker, length, header. A schema has no body. */
const schemaBytes = (stream: Buffer): number => END_BYTES + stream.readUInt32LE(4);

/**
 * Yields the stream in pieces; each holds one record batch, and none is kept.
 *
 * @example for await (const bytes of arrowStream([{ name: 'account', type: 'text' }], rows)) out.write(bytes);
 */
export async function* arrowStream(
  columns: readonly ResultColumn[],
  rows: AsyncIterable<Row>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const schema = new Schema(columns.map((column) => new Field(column.name, typeOf(column), true)));
  const empty = streamOf(batchOf(schema, columns, []));
  yield empty.subarray(0, schemaBytes(empty));
  let waiting: Row[] = [];
  const flush = (): Uint8Array => {
    const stream = streamOf(batchOf(schema, columns, waiting));
    waiting = [];
    return stream.subarray(schemaBytes(stream), stream.length - END_BYTES);
  };
  for await (const row of rows) {
    waiting.push(row);
    if (waiting.length === BATCH_ROWS) yield flush();
  }
  if (waiting.length > 0) yield flush();
  yield empty.subarray(empty.length - END_BYTES);
}
