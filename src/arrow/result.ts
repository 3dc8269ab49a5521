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
  vectorFromArray,
} from 'apache-arrow';
import type { DataType } from 'apache-arrow';

/** A column of the result. Numbers are exact at any size, so they are text. */
export interface ResultColumn {
  readonly name: string;
  readonly type: 'text' | 'integer' | 'instant';
}

type Row = Readonly<Record<string, unknown>>;

/** Rows of a record batch: enough to make its header cheap, and few enough to hold. */
const BATCH_ROWS = 8_192;
/** Continuation marker and length of nothing: the end of a stream. */
const END_BYTES = 8;
const MICROS_PER_MILLI = 1000n;

const typeOf = ({ type }: ResultColumn): DataType =>
  type === 'integer' ? new Int64() : type === 'instant' ? new TimestampMicrosecond('UTC') : new Utf8();

const valueOf = (type: ResultColumn['type'], value: unknown): unknown => {
  if (value === null || value === undefined) return null;
  if (type === 'integer') return BigInt(value as number);
  return type === 'instant' ? BigInt((value as Date).getTime()) * MICROS_PER_MILLI : value;
};

const batchOf = (schema: Schema, columns: readonly ResultColumn[], rows: readonly Row[]): RecordBatch => {
  const children = columns.map(({ name, type }, index) => {
    const values = rows.map((row) => valueOf(type, row[name]));
    const vector = vectorFromArray(values, schema.fields[index]!.type as DataType);
    return vector.data[0] ?? makeData({ type: schema.fields[index]!.type as DataType });
  });
  return new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length: rows.length, children }),
  );
};

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
