/** Arrow columns and batches built by hand from plain values, buffer by buffer, for the tests of the encoder. */
import type {
  Binary,
  BinaryView,
  DataType,
  FixedSizeBinary,
  LargeBinary,
  LargeUtf8,
  Utf8,
  Utf8View,
} from 'apache-arrow';
import { Bool, Data, Decimal, Field, RecordBatch, Schema, Struct, Type, makeData } from 'apache-arrow';

/** Bit r is 1 when row r is not null. */
const bitmapOf = (values: readonly unknown[]): Uint8Array => {
  const bitmap = new Uint8Array(Math.ceil(values.length / 8) + 8);
  for (const [row, value] of values.entries()) if (value !== null) bitmap[row >> 3]! |= 1 << (row & 7);
  return bitmap;
};

const nullCountOf = (values: readonly unknown[]): number => values.filter((value) => value === null).length;

type NumberArray =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;

/** A column whose elements are numbers, from the type's own array. Garbage, not zeros, stands under the nulls. */
export const numberData = (type: DataType, values: readonly (number | null)[]): Data => {
  const data = new (type.ArrayType as new (length: number) => NumberArray)(values.length);
  for (const [row, value] of values.entries()) data[row] = value ?? 77;
  return new Data(type, 0, values.length, nullCountOf(values), [undefined, data, bitmapOf(values)] as never);
};

/** A column of 64-bit elements. */
export const bigintData = (type: DataType, values: readonly (bigint | null)[]): Data => {
  const data = new BigInt64Array(values.length);
  for (const [row, value] of values.entries()) data[row] = BigInt.asIntN(64, value ?? 77n);
  const typed = type.ArrayType === BigUint64Array ? new BigUint64Array(data.buffer) : data;
  return new Data(type, 0, values.length, nullCountOf(values), [undefined, typed, bitmapOf(values)] as never);
};

/** A column of booleans. */
export const boolData = (values: readonly (boolean | null)[]): Data => {
  const data = bitmapOf(values.map((value) => (value === true ? true : null)));
  return new Data(new Bool(), 0, values.length, nullCountOf(values), [
    undefined,
    data,
    bitmapOf(values),
  ] as never);
};

/** A column of integers of `bits` bits, divided by 10^scale. */
export const decimalData = (bits: number, scale: number, values: readonly (bigint | null)[]): Data => {
  const count = bits / 32;
  const data = new Uint32Array(values.length * count);
  for (const [row, value] of values.entries()) {
    const all = BigInt.asUintN(bits, value ?? -77n);
    for (let word = 0; word < count; word++)
      data[row * count + word] = Number((all >> BigInt(32 * word)) & 0xffff_ffffn);
  }
  const type = new Decimal(scale, 38, bits);
  return new Data(type, 0, values.length, nullCountOf(values), [undefined, data, bitmapOf(values)] as never);
};

/** A text or binary column with offsets. */
export const bytesData = (
  type: Utf8 | Binary | LargeUtf8 | LargeBinary,
  values: readonly (Uint8Array | null)[],
): Data => {
  const large = type.typeId === Type.LargeUtf8 || type.typeId === Type.LargeBinary;
  const ends = [0];
  for (const value of values) ends.push(ends.at(-1)! + (value?.length ?? 2));
  const data = Buffer.concat(values.map((value) => value ?? Uint8Array.of(0, 0xff)));
  const offsets = large ? BigInt64Array.from(ends, BigInt) : Int32Array.from(ends);
  return new Data(type, 0, values.length, nullCountOf(values), [offsets, data, bitmapOf(values)] as never);
};

/** A text or binary view column; values of more than 12 bytes are spread over two buffers. */
export const viewData = (type: Utf8View | BinaryView, values: readonly (Uint8Array | null)[]): Data => {
  const views = new Uint8Array(values.length * 16);
  const view = new DataView(views.buffer);
  const buffers: Uint8Array[][] = [[], []];
  const sizes = [0, 0];
  for (const [row, value] of values.entries()) {
    const at = row * 16;
    if (value === null) {
      views.fill(0xff, at, at + 16);
      continue;
    }
    view.setInt32(at, value.length, true);
    if (value.length <= 12) {
      views.set(value, at + 4);
      continue;
    }
    const buffer = row % 2;
    views.set(value.subarray(0, 4), at + 4);
    view.setInt32(at + 8, buffer, true);
    view.setInt32(at + 12, sizes[buffer]!, true);
    buffers[buffer]!.push(value);
    sizes[buffer]! += value.length;
  }
  return new Data(
    type,
    0,
    values.length,
    nullCountOf(values),
    [undefined, views, bitmapOf(values)] as never,
    [],
    undefined,
    buffers.map((parts) => new Uint8Array(Buffer.concat(parts))),
  );
};

/** A column of byte strings of one width. */
export const fixedBytesData = (type: FixedSizeBinary, values: readonly (Uint8Array | null)[]): Data => {
  const data = new Uint8Array(values.length * type.byteWidth).fill(0xee);
  for (const [row, value] of values.entries()) if (value !== null) data.set(value, row * type.byteWidth);
  return new Data(type, 0, values.length, nullCountOf(values), [undefined, data, bitmapOf(values)] as never);
};

/** UTF-8 bytes, null for null. */
export const utf8 = (values: readonly (string | null)[]): readonly (Uint8Array | null)[] =>
  values.map((value) => (value === null ? null : new TextEncoder().encode(value)));

/** A batch of columns of equal length. */
export const batchOf = (columns: Readonly<Record<string, Data>>): RecordBatch => {
  const fields = Object.entries(columns).map(([name, { type }]) => new Field(name, type, true));
  const children = Object.values(columns);
  const length = children[0]?.length ?? 0;
  return new RecordBatch(new Schema(fields), makeData({ type: new Struct(fields), length, children }));
};
