/** Amounts written as text, decimal or `0x…`, as the payload of a PostgreSQL numeric. */
import { badValue, shownText } from './faults.ts';
import { writeBigEndian } from './numeric.ts';

const HEADER_BYTES = 8;
const SIGN_NEGATIVE = 0x4000;

/** PostgreSQL's own limits: digits before and after the decimal point. */
const MAX_INTEGER_DIGITS = 131_072;
const MAX_FRACTION_DIGITS = 16_383;

const MAX_HEX_DIGITS = 64;

const ZERO = 0x30;
const PLUS = 0x2b;
const MINUS = 0x2d;
const POINT = 0x2e;
const SMALL_X = 0x78;

const REMEDY = 'Cast the column to a decimal or integer type in the query.';

const notNumber = (bytes: Uint8Array, start: number, end: number): Error =>
  badValue('not a plain decimal or 0x number', shownText(bytes, start, end), REMEDY);

const tooLong = (bytes: Uint8Array, start: number, end: number): Error =>
  badValue('more digits than a numeric holds', shownText(bytes, start, end), REMEDY);

/** Most bytes `writeNumericText` writes for a text of this length. */
export const numericTextBound = (textBytes: number): number => textBytes + 24;

/** The value of a hexadecimal digit, or −1. */
export const hexDigit = (byte: number): number => {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
};

/** Whether the text begins with `0x`. */
export const isHexText = (bytes: Uint8Array, start: number, end: number): boolean =>
  end - start >= 2 && bytes[start] === ZERO && (bytes[start + 1]! | 0x20) === SMALL_X;

const packed = new Uint8Array(MAX_HEX_DIGITS / 2);

/** Packs the hexadecimal digits right-aligned into `packed`; false when one is none. */
const packHex = (bytes: Uint8Array, start: number, end: number): boolean => {
  packed.fill(0);
  for (let at = end - 1, nibble = MAX_HEX_DIGITS - 1; at >= start; at--, nibble--) {
    const digit = hexDigit(bytes[at]!);
    if (digit < 0) return false;
    packed[nibble >> 1]! |= nibble % 2 === 1 ? digit : digit << 4;
  }
  return true;
};

/** Where the run of decimal digits from `at` ends. */
const digitsEnd = (bytes: Uint8Array, at: number, end: number): number => {
  let index = at;
  while (index < end && bytes[index]! - ZERO >= 0 && bytes[index]! - ZERO <= 9) index++;
  return index;
};

/** The four digits from `from`; places before `first` or from `end` on count as zeros. */
const groupAt = (bytes: Uint8Array, from: number, first: number, end: number): number => {
  let group = 0;
  for (let at = from; at < from + 4; at++)
    group = group * 10 + (at >= first && at < end ? bytes[at]! - ZERO : 0);
  return group;
};

/**
 * Writes the number in `bytes[start, end)`: an optional sign, then decimal digits with at most one point, or `0x` and up
 * to 64 hexadecimal digits. Exponents, spaces, `NaN` and `Infinity` are data errors. The dscale is the count of
 * fraction digits, so `1.50` stays `1.50`.
 *
 * @returns the position behind the payload; no length word is written
 * @throws WarehouseError `data`
 */
export const writeNumericText = (
  bytes: Uint8Array,
  start: number,
  end: number,
  negate: boolean,
  view: DataView,
  pos: number,
): number => {
  const hasSign = bytes[start] === MINUS || bytes[start] === PLUS;
  const from = hasSign && start < end ? start + 1 : start;
  const negative = (from > start && bytes[start] === MINUS) !== negate;
  if (isHexText(bytes, from, end)) {
    if (end - from - 2 > MAX_HEX_DIGITS) throw tooLong(bytes, start, end);
    if (end - from === 2 || !packHex(bytes, from + 2, end)) throw notNumber(bytes, start, end);
    return writeBigEndian(packed, 0, packed.length, negative, view, pos);
  }
  const integerEnd = digitsEnd(bytes, from, end);
  const hasPoint = integerEnd < end && bytes[integerEnd] === POINT;
  const fractionStart = hasPoint ? integerEnd + 1 : end;
  const fractionEnd = digitsEnd(bytes, fractionStart, end);
  if (fractionEnd !== end || (!hasPoint && integerEnd !== end)) throw notNumber(bytes, start, end);
  if (integerEnd === from && fractionEnd === fractionStart) throw notNumber(bytes, start, end);
  return writeDigits(bytes, from, integerEnd, fractionStart, fractionEnd, negative, view, pos);
};

const writeDigits = (
  bytes: Uint8Array,
  integerStart: number,
  integerEnd: number,
  fractionStart: number,
  fractionEnd: number,
  negative: boolean,
  view: DataView,
  pos: number,
): number => {
  let first = integerStart;
  while (first < integerEnd && bytes[first] === ZERO) first++;
  const dscale = fractionEnd - fractionStart;
  if (integerEnd - first > MAX_INTEGER_DIGITS || dscale > MAX_FRACTION_DIGITS)
    throw tooLong(bytes, integerStart, fractionEnd);
  const integerGroups = Math.ceil((integerEnd - first) / 4);
  const groupCount = integerGroups + Math.ceil(dscale / 4);
  const body = pos + HEADER_BYTES;
  let at = body;
  let weight = 0;
  /** Behind the last digit that is not zero: what follows it is left out. */
  let significantEnd = body;
  for (let index = 0; index < groupCount; index++) {
    const place = index - integerGroups;
    const group =
      place < 0
        ? groupAt(bytes, integerEnd + 4 * place, first, integerEnd)
        : groupAt(bytes, fractionStart + 4 * place, fractionStart, fractionEnd);
    if (group === 0 && at === body) continue;
    if (at === body) weight = -place - 1;
    view.setUint16(at, group);
    at += 2;
    if (group !== 0) significantEnd = at;
  }
  const count = (significantEnd - body) / 2;
  view.setInt16(pos, count);
  view.setInt16(pos + 2, weight);
  view.setUint16(pos + 4, negative && count > 0 ? SIGN_NEGATIVE : 0);
  view.setUint16(pos + 6, dscale);
  return significantEnd;
};
