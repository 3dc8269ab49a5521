/** Typed views over the buffers of one Arrow column, honouring slices: null bits, 32-bit words, byte ranges, dictionaries. */
import type { Data } from 'apache-arrow';
import { Type } from 'apache-arrow';
import { badLayout } from './faults.ts';

/*
 * What a slice does in apache-arrow: `values` and `valueOffsets` are cut already, so row 0 is their element 0. The null
 * bitmap and the values of a Bool are not: they are addressed by bit `data.offset + row`.
 */

/** Whether bit `index` of a bitmap is set. */
export const bitAt = (bitmap: Uint8Array, index: number): boolean =>
  ((bitmap[index >> 3]! >> (index & 7)) & 1) === 1;

/** The validity bitmap, or null when no row is null. Bit `data.offset + row` is 0 for a null. Not for type Null. */
const nullBitmapOf = (data: Data): Uint8Array | null => {
  const bitmap = data.nullBitmap as Uint8Array | undefined;
  if (bitmap === undefined || bitmap.length === 0 || data.nullCount === 0) return null;
  if (bitmap.length * 8 < data.offset + data.length) throw badLayout('a null bitmap is too short');
  return bitmap;
};

/** A test for nulls, by row. */
export const nullTest = (data: Data): ((row: number) => boolean) => {
  if (data.typeId === Type.Null) return () => true;
  const bitmap = nullBitmapOf(data);
  if (bitmap === null) return () => false;
  const { offset } = data;
  return (row) => !bitAt(bitmap, offset + row);
};

type Values = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array;

const requireValues = (present: number, wanted: number): void => {
  if (present < wanted) throw badLayout(`${present} values where ${wanted} are needed`);
};

/** The values of a column whose elements fit a JavaScript number; `stride` elements per row. */
export const numbersOf = (data: Data): Values | Float64Array => {
  const values = data.values as Values | Float64Array;
  requireValues(values.length, data.length * data.stride);
  return values;
};

/** The little-endian 32-bit words of a column of 64-bit or wider elements: row r begins at word `r * wordsPerRow`. */
export const wordsOf = (data: Data, wordsPerRow: number): Int32Array => {
  const values = data.values as Int32Array | BigInt64Array;
  const words = new Int32Array(values.buffer, values.byteOffset, values.byteLength / 4);
  requireValues(words.length, data.length * wordsPerRow);
  return words;
};

/** The bits of a Bool column; row r is bit `data.offset + r`. */
export const bitsOf = (data: Data): Uint8Array => {
  const bits = data.values as Uint8Array;
  requireValues(bits.length * 8, data.offset + data.length);
  return bits;
};

/** Points at the bytes of one row at a time, so that no slice is made per row. */
export interface ByteCursor {
  /** Moves to a row that is not null; then its bytes are `bytes[start, end)`. */
  seek(row: number): void;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** At least the sum of the lengths of rows [first, last). */
  total(first: number, last: number): number;
}

type MutableCursor = { -readonly [Key in keyof ByteCursor]: ByteCursor[Key] };

/** Offsets of a variable-width column or list, as numbers, checked to lie within `limit`. */
export const offsetsOf = (data: Data, limit: number): Int32Array | Float64Array => {
  const raw = data.valueOffsets as Int32Array | BigInt64Array;
  // An empty column may come without its one offset.
  if (data.length === 0) return new Int32Array(1);
  requireValues(raw.length, data.length + 1);
  const offsets = raw instanceof BigInt64Array ? Float64Array.from(raw, Number) : raw;
  const last = offsets[data.length]!;
  if (offsets[0]! < 0 || last > limit) throw badLayout(`offset ${last} in a buffer of ${limit}`);
  for (let row = 0; row < data.length; row++)
    if (offsets[row]! > offsets[row + 1]!) throw badLayout(`offsets run backwards at row ${row}`);
  return offsets;
};

const offsetCursor = (data: Data): ByteCursor => {
  const bytes = data.values as Uint8Array;
  const offsets = offsetsOf(data, bytes.length);
  const cursor: MutableCursor = {
    bytes,
    start: 0,
    end: 0,
    seek(row) {
      cursor.start = offsets[row]!;
      cursor.end = offsets[row + 1]!;
    },
    total: (first, last) => offsets[last]! - offsets[first]!,
  };
  return cursor;
};

const fixedCursor = (data: Data): ByteCursor => {
  const bytes = data.values as Uint8Array;
  const width = data.stride;
  requireValues(bytes.length, data.length * width);
  const cursor: MutableCursor = {
    bytes,
    start: 0,
    end: 0,
    seek(row) {
      cursor.start = row * width;
      cursor.end = cursor.start + width;
    },
    total: (first, last) => (last - first) * width,
  };
  return cursor;
};

const VIEW_BYTES = 16;
const INLINE_BYTES = 12;

/** A view is 16 bytes: the length, then up to 12 bytes inline, or a prefix, a buffer's index and an offset in it. */
const viewCursor = (data: Data): ByteCursor => {
  const inline = data.values as Uint8Array;
  const buffers = data.variadicBuffers;
  requireValues(inline.length, data.length * VIEW_BYTES);
  const views = new DataView(inline.buffer, inline.byteOffset, inline.byteLength);
  const isNull = nullTest(data);
  const cursor: MutableCursor = {
    bytes: inline,
    start: 0,
    end: 0,
    seek(row) {
      const at = row * VIEW_BYTES;
      const length = views.getInt32(at, true);
      const isInline = length <= INLINE_BYTES;
      cursor.bytes = isInline ? inline : (buffers[views.getInt32(at + 8, true)] ?? inline);
      cursor.start = isInline ? at + 4 : views.getInt32(at + 12, true);
      cursor.end = cursor.start + length;
      if (length < 0 || cursor.start < 0 || cursor.end > cursor.bytes.length)
        throw badLayout(`a view of ${length} bytes at ${cursor.start} points outside its buffer`);
    },
    total(first, last) {
      let sum = 0;
      for (let row = first; row < last; row++) {
        if (isNull(row)) continue;
        cursor.seek(row);
        sum += cursor.end - cursor.start;
      }
      return sum;
    },
  };
  return cursor;
};

/** The byte cursor of a text or binary column of any layout, or null when the column is neither. */
export const byteCursorOf = (data: Data): ByteCursor | null => {
  switch (data.typeId) {
    case Type.Utf8:
    case Type.LargeUtf8:
    case Type.Binary:
    case Type.LargeBinary:
      return offsetCursor(data);
    case Type.FixedSizeBinary:
      return fixedCursor(data);
    case Type.Utf8View:
    case Type.BinaryView:
      return viewCursor(data);
    default:
      return null;
  }
};

/** Where the values of a dictionary column lie: each delta of the dictionary is a chunk of its own. */
export interface DictionaryRows {
  readonly chunks: readonly Data[];
  /** Position in the whole dictionary. The row must not be null. */
  readonly indexOf: (row: number) => number;
  /** Which chunk a position falls into. */
  readonly chunkOf: (index: number) => number;
  /** Position of the first value of a chunk. */
  readonly firstOf: readonly number[];
  /** Whether the row's index, or the value it points at, is null. */
  readonly isNull: (row: number) => boolean;
}

/** Reads a dictionary column. */
export const dictionaryRowsOf = (data: Data): DictionaryRows => {
  if (data.dictionary === undefined) throw badLayout('a dictionary column came before its dictionary');
  const chunks: readonly Data[] = data.dictionary.data;
  const values = data.values as Int32Array | BigInt64Array;
  requireValues(values.length, data.length);
  const firstOf: number[] = [];
  let size = 0;
  for (const chunk of chunks) {
    firstOf.push(size);
    size += chunk.length;
  }
  const indexOf = (row: number): number => {
    const index = Number(values[row]);
    if (!(index >= 0 && index < size)) throw badLayout(`index ${index} in a dictionary of ${size}`);
    return index;
  };
  const chunkOf = (index: number): number => {
    let chunk = chunks.length - 1;
    while (index < firstOf[chunk]!) chunk--;
    return chunk;
  };
  const indexIsNull = nullTest(data);
  const nulls = chunks.map(nullTest);
  const isNull = (row: number): boolean => {
    if (indexIsNull(row)) return true;
    const index = indexOf(row);
    const chunk = chunkOf(index);
    return nulls[chunk]!(index - firstOf[chunk]!);
  };
  return { chunks, indexOf, chunkOf, firstOf, isNull };
};

/** Which rows of a column are not null, in the cheapest form to ask. */
export interface Validity {
  /** Row r is null when bit `offset + r` is 0; null when no row is. */
  readonly bitmap: Uint8Array | null;
  readonly offset: number;
}

const bitmapWhere = (length: number, isNull: (row: number) => boolean): Validity => {
  const bitmap = new Uint8Array(Math.ceil(length / 8));
  for (let row = 0; row < length; row++) if (!isNull(row)) bitmap[row >> 3]! |= 1 << (row & 7);
  return { bitmap, offset: 0 };
};

/** The validity of a column of any type; a dictionary's row is null as well when its value is. */
export const validityOf = (data: Data): Validity => {
  switch (data.typeId) {
    case Type.Null:
      return bitmapWhere(data.length, () => true);
    case Type.Dictionary:
      return bitmapWhere(data.length, dictionaryRowsOf(data).isNull);
    default:
      return { bitmap: nullBitmapOf(data), offset: data.offset };
  }
};
