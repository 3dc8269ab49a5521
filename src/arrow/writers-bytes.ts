/** Field writers for text and bytes, in either direction, and for numbers and JSON written as text. */
import { isUtf8 } from 'node:buffer';
import type { ByteCursor } from './column.ts';
import { badValue, shownHex, shownText } from './faults.ts';
import { hexDigit, isHexText, numericTextBound, writeNumericText } from './numeric-text.ts';
import { NUMERIC_BOUND, writeBigEndian } from './numeric.ts';
import type { ColumnWriter } from './writer.ts';
import { fixedWidth } from './writer.ts';

const LENGTH_BYTES = 4;

/** Below this a loop beats the call into native code. */
const SHORT_BYTES = 48;

/** PostgreSQL's limit for one field. */
const MAX_FIELD_BYTES = 0x3fff_ffff;

/** Refuses a field that PostgreSQL would refuse, before it is sent. */
export const requireFieldLength = (length: number): void => {
  if (length > MAX_FIELD_BYTES)
    throw badValue('a value of more than 1 GiB', `${length} bytes`, 'Cut it in the query.');
};

const putBytes = (bytes: Uint8Array, start: number, end: number, out: Uint8Array, pos: number): number => {
  const length = end - start;
  if (length > SHORT_BYTES) out.set(bytes.subarray(start, end), pos);
  else for (let index = 0; index < length; index++) out[pos + index] = bytes[start + index]!;
  return pos + length;
};

/** Throws for what PostgreSQL does not take as text: `\0`, and bytes that are not UTF-8. */
export const requireText = (bytes: Uint8Array, start: number, end: number): void => {
  const value = bytes.subarray(start, end);
  if (value.includes(0))
    throw badValue(
      'text with a \\0, which PostgreSQL cannot hold',
      shownText(bytes, start, end),
      TEXT_REMEDY,
    );
  if (!isUtf8(value)) throw badValue('text that is not UTF-8', shownHex(bytes, start, end), TEXT_REMEDY);
};

const TEXT_REMEDY = 'Load the column as bytea, or strip the bytes in the query.';

const putText = (bytes: Uint8Array, start: number, end: number, out: Uint8Array, pos: number): number => {
  const length = end - start;
  if (length > SHORT_BYTES) {
    requireText(bytes, start, end);
    out.set(bytes.subarray(start, end), pos);
    return pos + length;
  }
  // Plain ASCII without \0 needs no second look: then neither a byte nor the byte minus one has a high bit.
  let seen = 0;
  for (let index = 0; index < length; index++) {
    const byte = bytes[start + index]!;
    out[pos + index] = byte;
    seen |= byte | (byte - 1);
  }
  if ((seen & ~0x7f) !== 0) requireText(bytes, start, end);
  return pos + length;
};

/** A writer that sets the length word once its value is written. */
const variableWidth = (
  cursor: ByteCursor,
  extraPerRow: number,
  factor: number,
  put: (out: Uint8Array, view: DataView, pos: number) => number,
): ColumnWriter => ({
  write: (row, out, view, pos) => {
    cursor.seek(row);
    requireFieldLength((cursor.end - cursor.start) * factor);
    const end = put(out, view, pos + LENGTH_BYTES);
    view.setInt32(pos, end - pos - LENGTH_BYTES);
    return end;
  },
  bound: (first, last) => cursor.total(first, last) * factor + (last - first) * (LENGTH_BYTES + extraPerRow),
});

/** UTF-8 → text. `\0` and invalid UTF-8 are data errors. */
export const writeText = (cursor: ByteCursor): ColumnWriter =>
  variableWidth(cursor, 0, 1, (out, _view, pos) => putText(cursor.bytes, cursor.start, cursor.end, out, pos));

/** Bytes → bytea. */
export const writeBytea = (cursor: ByteCursor): ColumnWriter =>
  variableWidth(cursor, 0, 1, (out, _view, pos) =>
    putBytes(cursor.bytes, cursor.start, cursor.end, out, pos),
  );

/** Bytes of a word of {@link writeFixedBytea}. */
const WORD_BYTES = 4;

/** Fixed-width bytes → bytea, four bytes at a time: addresses and hashes, which is most of what a chain sends. */
export const writeFixedBytea = (values: Uint8Array, width: number): ColumnWriter => {
  requireFieldLength(width);
  const source = new DataView(values.buffer, values.byteOffset, values.byteLength);
  return fixedWidth(LENGTH_BYTES + width, (row, _out, view, pos) => {
    view.setInt32(pos, width);
    const start = row * width;
    const target = pos + LENGTH_BYTES;
    for (let at = 0; at < width; at += WORD_BYTES) view.setUint32(target + at, source.getUint32(start + at));
    return target + width;
  });
};

const JSONB_VERSION = 1;

/** JSON text → jsonb; whether it is JSON, PostgreSQL decides. */
export const writeJsonText = (cursor: ByteCursor): ColumnWriter =>
  variableWidth(cursor, 1, 1, (out, _view, pos) => {
    out[pos] = JSONB_VERSION;
    return putText(cursor.bytes, cursor.start, cursor.end, out, pos + 1);
  });

/** Text → numeric, see `writeNumericText`. */
export const writeTextAsNumeric = (cursor: ByteCursor): ColumnWriter =>
  variableWidth(cursor, numericTextBound(0), 1, (_out, view, pos) =>
    writeNumericText(cursor.bytes, cursor.start, cursor.end, false, view, pos),
  );

/** Unsigned big-endian bytes, at most 32, → numeric. */
export const writeBytesAsNumeric = (cursor: ByteCursor): ColumnWriter =>
  variableWidth(cursor, NUMERIC_BOUND, 0, (_out, view, pos) =>
    writeBigEndian(cursor.bytes, cursor.start, cursor.end, false, view, pos),
  );

const HEX_CHARS = Uint8Array.from('0123456789abcdef', (char) => char.charCodeAt(0));
const ZERO = 0x30;
const SMALL_X = 0x78;

/** Bytes → text, as `0x` and lower-case hexadecimal digits. */
export const writeBytesAsHexText = (cursor: ByteCursor): ColumnWriter =>
  variableWidth(cursor, 2, 2, (out, _view, pos) => {
    const { bytes, start, end } = cursor;
    out[pos] = ZERO;
    out[pos + 1] = SMALL_X;
    let at = pos + 2;
    for (let index = start; index < end; index++, at += 2) {
      out[at] = HEX_CHARS[bytes[index]! >> 4]!;
      out[at + 1] = HEX_CHARS[bytes[index]! & 15]!;
    }
    return at;
  });

/**
 * Unpacks the hexadecimal digits `bytes[start, end)` to `out` at `pos`; returns the position behind them, or −1 when
 * one is no digit or their count is odd.
 */
export const unpackHex = (
  bytes: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  pos: number,
): number => {
  if ((end - start) % 2 !== 0) return -1;
  let at = pos;
  for (let index = start; index < end; index += 2, at++) {
    const high = hexDigit(bytes[index]!);
    const low = hexDigit(bytes[index + 1]!);
    if (high < 0 || low < 0) return -1;
    out[at] = (high << 4) | low;
  }
  return at;
};

/** Text `0x…` → bytea; other text is a data error. */
export const writeHexTextAsBytea = (cursor: ByteCursor): ColumnWriter =>
  variableWidth(cursor, 0, 1, (out, _view, pos) => {
    const { bytes, start, end } = cursor;
    const at = isHexText(bytes, start, end) ? unpackHex(bytes, start + 2, end, out, pos) : -1;
    if (at < 0)
      throw badValue(
        'not 0x and an even count of hexadecimal digits',
        shownText(bytes, start, end),
        'Make the target column text, or decode it in the query.',
      );
    return at;
  });
