/** Field writers for booleans, integers and floats. */
import type { Data } from 'apache-arrow';
import { util } from 'apache-arrow';
import { bitAt, bitsOf, numbersOf, wordsOf } from './column.ts';
import { badValue } from './faults.ts';
import type { ColumnWriter, WriteField } from './writer.ts';
import { fixedWidth } from './writer.ts';

const outOfRange = (value: number | bigint, type: string): Error =>
  badValue(`out of range for ${type}`, String(value), 'Make the target column wider, or filter the row out.');

/** The 64-bit integer of two words, for error messages. */
export const int64Of = (high: number, low: number, signed: boolean): bigint =>
  ((signed ? BigInt(high) : BigInt(high >>> 0)) << 32n) | BigInt(low >>> 0);

/** Bool → boolean. */
export const writeBoolean = (data: Data): ColumnWriter => {
  const bits = bitsOf(data);
  const { offset } = data;
  return fixedWidth(5, (row, out, view, pos) => {
    view.setInt32(pos, 1);
    out[pos + 4] = bitAt(bits, offset + row) ? 1 : 0;
    return pos + 5;
  });
};

const putSmallint = (value: number, view: DataView, pos: number): number => {
  if (value < -0x8000 || value > 0x7fff) throw outOfRange(value, 'smallint');
  view.setInt32(pos, 2);
  view.setInt16(pos + 4, value);
  return pos + 6;
};

const putInteger = (value: number, view: DataView, pos: number): number => {
  if (value > 0x7fff_ffff) throw outOfRange(value, 'integer');
  view.setInt32(pos, 4);
  view.setInt32(pos + 4, value);
  return pos + 8;
};

/** Writes a bigint field from its two words. */
export const putBigint = (high: number, low: number, view: DataView, pos: number): number => {
  view.setInt32(pos, 8);
  view.setInt32(pos + 4, high);
  view.setInt32(pos + 8, low);
  return pos + 12;
};

/** Integers of up to 32 bits → smallint, integer or bigint, range checked. */
export const writeInteger = (data: Data, type: 'smallint' | 'integer' | 'bigint'): ColumnWriter => {
  const values = numbersOf(data);
  switch (type) {
    case 'smallint':
      return fixedWidth(6, (row, _out, view, pos) => putSmallint(values[row]!, view, pos));
    case 'integer':
      return fixedWidth(8, (row, _out, view, pos) => putInteger(values[row]!, view, pos));
    default:
      return fixedWidth(12, (row, _out, view, pos) => {
        const value = values[row]!;
        return putBigint(value < 0 ? -1 : 0, value, view, pos);
      });
  }
};

/** 64-bit integers → bigint; an unsigned one must stay below 2^63. */
const writeWords = (words: Int32Array, signed: boolean): WriteField => {
  if (signed) return (row, _out, view, pos) => putBigint(words[2 * row + 1]!, words[2 * row]!, view, pos);
  return (row, _out, view, pos) => {
    const high = words[2 * row + 1]!;
    if (high < 0) throw outOfRange(int64Of(high, words[2 * row]!, false), 'bigint');
    return putBigint(high, words[2 * row]!, view, pos);
  };
};

/** 64-bit integers → smallint, integer or bigint, range checked. */
export const writeInteger64 = (
  data: Data,
  signed: boolean,
  type: 'smallint' | 'integer' | 'bigint',
): ColumnWriter => {
  const words = wordsOf(data, 2);
  if (type === 'bigint') return fixedWidth(12, writeWords(words, signed));
  const put = type === 'smallint' ? putSmallint : putInteger;
  return fixedWidth(8, (row, _out, view, pos) => {
    const low = words[2 * row]!;
    const high = words[2 * row + 1]!;
    // An int32 that is sign-extended; for unsigned numbers the sign must be absent, too.
    if (high !== low >> 31 || (!signed && high !== 0)) throw outOfRange(int64Of(high, low, signed), type);
    return put(low, view, pos);
  });
};

const putFloat = (value: number, double: boolean, view: DataView, pos: number): number => {
  view.setInt32(pos, double ? 8 : 4);
  if (double) view.setFloat64(pos + 4, value);
  else view.setFloat32(pos + 4, value);
  return pos + (double ? 12 : 8);
};

/** Floats → real or double precision. NaN and the infinities are values of both. */
export const writeFloat = (data: Data, half: boolean, type: 'real' | 'double precision'): ColumnWriter => {
  const values = numbersOf(data);
  const double = type === 'double precision';
  return fixedWidth(
    12,
    half
      ? (row, _out, view, pos) => putFloat(util.uint16ToFloat64(values[row]!), double, view, pos)
      : (row, _out, view, pos) => putFloat(values[row]!, double, view, pos),
  );
};
