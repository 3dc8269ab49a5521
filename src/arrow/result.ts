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
/** Bytes that texts of a column are given room for at first, each. */
const TEXT_BYTES = 32;
const MICROS_PER_MILLI = 1000n;

const typeOf = ({ type }: ResultColumn): DataType =>
  type === 'integer' ? new Int64() : type === 'instant' ? new TimestampMicrosecond('UTC') : new Utf8();

/** Gathers the values of one column, a batch at a time: in buffers of its own, so that no value outlives its row. */
interface Gatherer {
  add(row: number, value: unknown): void;
  /** The first `length` values; what is added after is the next batch. */
  take(length: number): Data;
}

/** Which rows have a value, a bit each, the lowest first. */
const createValidity = () => {
  let bits = new Uint8Array(BATCH_ROWS >> 3);
  let nulls = 0;
  return {
    add: (row: number, isThere: boolean): void => {
      if (isThere) bits[row >> 3]! |= 1 << (row & 7);
      else nulls += 1;
    },
    take: (length: number): { readonly nullBitmap: Uint8Array | null; readonly nullCount: number } => {
      const taken = {
        nullBitmap: nulls === 0 ? null : bits.subarray(0, (length + 7) >> 3),
        nullCount: nulls,
      };
      bits = new Uint8Array(BATCH_ROWS >> 3);
      nulls = 0;
      return taken;
    },
  };
};

const gatherIntegers = (type: 'integer' | 'instant'): Gatherer => {
  const validity = createValidity();
  let integers = new BigInt64Array(BATCH_ROWS);
  return {
    add: (row, value) => {
      validity.add(row, value !== null);
      if (value !== null)
        integers[row] =
          type === 'instant' ? BigInt((value as Date).getTime()) * MICROS_PER_MILLI : BigInt(value as number);
    },
    take: (length) => {
      const shared = { ...validity.take(length), length, data: integers.subarray(0, length) };
      integers = new BigInt64Array(BATCH_ROWS);
      return type === 'integer'
        ? makeData({ ...shared, type: new Int64() })
        : makeData({ ...shared, type: new TimestampMicrosecond('UTC') });
    },
  };
};

/** All texts in a row, and where each begins. */
const gatherTexts = (): Gatherer => {
  const validity = createValidity();
  let offsets = new Int32Array(BATCH_ROWS + 1);
  let bytes = Buffer.allocUnsafeSlow(BATCH_ROWS * TEXT_BYTES);
  return {
    add: (row, value) => {
      validity.add(row, value !== null);
      const from = offsets[row]!;
      const text = value === null ? '' : (value as string);
      // A character takes three bytes at most (four, where it is two code units).
      if (from + 3 * text.length > bytes.length)
        bytes = Buffer.concat([bytes.subarray(0, from)], 2 * (from + 3 * text.length));
      offsets[row + 1] = from + bytes.write(text, from);
    },
    take: (length) => {
      const data = makeData({
        ...validity.take(length),
        length,
        type: new Utf8(),
        valueOffsets: offsets.subarray(0, length + 1),
        data: new Uint8Array(bytes.buffer, bytes.byteOffset, offsets[length]),
      });
      offsets = new Int32Array(BATCH_ROWS + 1);
      bytes = Buffer.allocUnsafeSlow(bytes.length);
      return data;
    },
  };
};

const gathererOf = ({ type }: ResultColumn): Gatherer =>
  type === 'text' ? gatherTexts() : gatherIntegers(type);

const batchOf = (schema: Schema, gatherers: readonly Gatherer[], length: number): RecordBatch =>
  new RecordBatch(
    schema,
    makeData({
      type: new Struct(schema.fields),
      length,
      children: gatherers.map((gatherer) => gatherer.take(length)),
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
  const gatherers = columns.map(gathererOf);
  const empty = streamOf(batchOf(schema, gatherers, 0));
  yield empty.subarray(0, schemaBytes(empty));
  let length = 0;
  const flush = (): Uint8Array => {
    const stream = streamOf(batchOf(schema, gatherers, length));
    length = 0;
    return stream.subarray(schemaBytes(stream), stream.length - END_BYTES);
  };
  for await (const row of rows) {
    for (const [index, { name }] of columns.entries()) gatherers[index]!.add(length, row[name] ?? null);
    length += 1;
    if (length === BATCH_ROWS) yield flush();
  }
  if (length > 0) yield flush();
  yield empty.subarray(empty.length - END_BYTES);
}
