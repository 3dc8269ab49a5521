/** Arrow columns straight from typed arrays, without builders, nulls or copies. */
import {
  Binary,
  Bool,
  DataType,
  Decimal,
  Field,
  FixedSizeBinary,
  Float64,
  List,
  RecordBatch,
  Schema,
  Struct,
  TimestampNanosecond,
  Uint32,
  Uint64,
  Utf8,
  makeData,
} from 'apache-arrow';
import type { Data } from 'apache-arrow';

/** Bytes of an address, and of a hash. */
export const ADDRESS_BYTES = 20;
export const HASH_BYTES = 32;

/** The Arrow types that chain datasets use. */
export const types = {
  uint32: new Uint32(),
  uint64: new Uint64(),
  float64: new Float64(),
  bool: new Bool(),
  text: new Utf8(),
  binary: new Binary(),
  address: new FixedSizeBinary(ADDRESS_BYTES),
  hash: new FixedSizeBinary(HASH_BYTES),
  hashes: new List(new Field('item', new FixedSizeBinary(HASH_BYTES), false)),
  /** apache-arrow takes scale before precision. */
  decimal: new Decimal(0, 38, 128),
  time: new TimestampNanosecond('UTC'),
} as const;

/** A schema of these columns, none of them nullable but those named. */
export const schemaOf = (
  columns: Readonly<Record<string, DataType>>,
  nullable: readonly string[] = [],
): Schema =>
  new Schema(Object.entries(columns).map(([name, type]) => new Field(name, type, nullable.includes(name))));

/**
 * The same columns, none of them over memory of another: apache-arrow's writer takes neighbours that share a buffer
 * for one chunk and leaves the second out.
 */
const apart = (children: readonly Data[]): Data[] => {
  const seen = new Set<ArrayBufferLike>();
  return children.map((child) => {
    const values: unknown = child.values;
    if (!ArrayBuffer.isView(values) || !seen.has(values.buffer)) {
      if (ArrayBuffer.isView(values)) seen.add(values.buffer);
      return child;
    }
    const { type, offset, length, nullCount, valueOffsets, nullBitmap, typeIds } = child;
    return child.clone(type, offset, length, nullCount, [
      valueOffsets,
      child.values.slice(),
      nullBitmap,
      typeIds,
    ]);
  });
};

/** One batch of these columns, which are in the schema's order. */
export const batchOf = (schema: Schema, length: number, children: readonly Data[]): RecordBatch =>
  new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length, nullCount: 0, children: apart(children) }),
  );

/** The same batch with only these columns, in this order, under these names. */
export const project = (batch: RecordBatch, schema: Schema, sources: readonly string[]): RecordBatch => {
  const positions = new Map(batch.schema.fields.map(({ name }, index) => [name, index]));
  const children = sources.flatMap((name) => batch.data.children[positions.get(name) ?? -1] ?? []);
  return batchOf(schema, batch.numRows, children);
};

/** Nulls as Arrow keeps them: one bit per row, set where there is a value. */
export const validityOf = (length: number, isValid: (row: number) => boolean): Uint8Array => {
  const bits = new Uint8Array(Math.ceil(length / 8));
  for (let row = 0; row < length; row += 1) {
    if (isValid(row)) bits[row >> 3] = (bits[row >> 3] ?? 0) | (1 << (row & 7));
  }
  return bits;
};

/** Columns of `rows` rows, each over an array that is already in Arrow's layout. */
export const column = {
  uint32: (data: Uint32Array) => makeData({ type: types.uint32, length: data.length, nullCount: 0, data }),
  uint64: (data: BigUint64Array) => makeData({ type: types.uint64, length: data.length, nullCount: 0, data }),
  float64: (data: Float64Array) => makeData({ type: types.float64, length: data.length, nullCount: 0, data }),
  time: (data: BigInt64Array) => makeData({ type: types.time, length: data.length, nullCount: 0, data }),
  bool: (data: Uint8Array, length: number) => makeData({ type: types.bool, length, nullCount: 0, data }),
  address: (data: Uint8Array, nullBitmap?: Uint8Array) =>
    makeData({ type: types.address, length: data.length / ADDRESS_BYTES, ...nulls(nullBitmap), data }),
  hash: (data: Uint8Array, nullBitmap?: Uint8Array) =>
    makeData({ type: types.hash, length: data.length / HASH_BYTES, ...nulls(nullBitmap), data }),
  decimal: (data: Uint32Array) =>
    makeData({ type: types.decimal, length: data.length / 4, nullCount: 0, data }),
  text: (valueOffsets: Int32Array, data: Uint8Array, nullBitmap?: Uint8Array) =>
    makeData({ type: types.text, length: valueOffsets.length - 1, ...nulls(nullBitmap), valueOffsets, data }),
  binary: (valueOffsets: Int32Array, data: Uint8Array, nullBitmap?: Uint8Array) =>
    makeData({
      type: types.binary,
      length: valueOffsets.length - 1,
      ...nulls(nullBitmap),
      valueOffsets,
      data,
    }),
  hashes: (valueOffsets: Int32Array, child: Data<FixedSizeBinary>) =>
    makeData({ type: types.hashes, length: valueOffsets.length - 1, nullCount: 0, valueOffsets, child }),
} as const;

/** -1 makes apache-arrow count the nulls itself. */
const nulls = (nullBitmap: Uint8Array | undefined) =>
  nullBitmap === undefined ? { nullCount: 0 } : { nullCount: -1, nullBitmap };

const emptyColumn = (type: DataType): Data => {
  const child = DataType.isList(type) ? { child: emptyColumn(type.valueType) } : {};
  return makeData<DataType>({ type, length: 0, nullCount: 0, ...child });
};

/** A batch of no rows. */
export const emptyBatch = (schema: Schema): RecordBatch =>
  batchOf(
    schema,
    0,
    schema.fields.map(({ type }) => emptyColumn(type)),
  );
