/** Exact integers and decimals as the payload of a PostgreSQL numeric, by 32-bit limbs and base-10,000 digits. */
import { badValue } from './faults.ts';

/*
 * The payload: int16 ndigits, int16 weight, uint16 sign, uint16 dscale, then ndigits base-10,000 digits, the first worth
 * 10000^weight. Leading and trailing zero digits are left out. One in the middle must stay: without it every later
 * digit would silently be worth 10,000 times as much.
 */

const HEADER_BYTES = 8;
const MAX_LIMBS = 8;
const TWO_32 = 0x1_0000_0000;

/** 2^256 − 1 has 78 decimal digits: at most 21 groups of four, whatever the scale. */
const MAX_GROUPS = 21;

/** Most bytes `writeWords`, `writeBigEndian` and `writeSafeInteger` ever write. */
export const NUMERIC_BOUND = HEADER_BYTES + 2 * MAX_GROUPS;

const SIGN_NEGATIVE = 0x4000;

/** Powers of ten that line a scale up with the next multiple of four. */
const PADDING = [1, 10, 100, 1000];

// Module state, so that nothing is allocated per value; every function below is synchronous and leaves it free again.
/** The magnitude in hand: little-endian 32-bit limbs, with one to spare for the padding. */
const limbs = new Uint32Array(MAX_LIMBS + 1);
/** Its base-10,000 digits, the least significant first. */
const groups = new Uint16Array(MAX_GROUPS + 3);

/** Widest scale `writeWords` takes; PostgreSQL itself allows 16,383. */
const MAX_SCALE = 1000;

/** Refuses a decimal scale that no sane dataset has. */
export const requireScale = (scale: number): void => {
  if (!Number.isInteger(scale) || Math.abs(scale) > MAX_SCALE)
    throw badValue(`decimal scale ${scale} is out of range`, String(scale), 'Cast the column in the query.');
};

/** Multiplies the limbs by a power of ten ≤ 1000; returns how many limbs are in use. */
const padLimbs = (count: number, factor: number): number => {
  let carry = 0;
  for (let index = 0; index < count; index++) {
    const product = limbs[index]! * factor + carry;
    limbs[index] = product;
    carry = Math.floor(product / TWO_32);
  }
  if (carry === 0) return count;
  limbs[count] = carry;
  return count + 1;
};

/**
 * Divides the limbs by 10^8 and returns the remainder, eight digits at once.
 *
 * A dividend may need 59 bits, more than a double has: the quotient it gives can be one too large or too small. The
 * remainder is taken modulo 2^32, where it is exact, and tells which.
 */
const nextEightDigits = (count: number): number => {
  let remainder = 0;
  for (let index = count - 1; index >= 0; index--) {
    const limb = limbs[index]!;
    let quotient = ((remainder * TWO_32 + limb) * 1e-8) >>> 0;
    remainder = (limb - Math.imul(quotient, 100_000_000)) | 0;
    if (remainder < 0) {
      quotient--;
      remainder += 100_000_000;
    } else if (remainder >= 100_000_000) {
      quotient++;
      remainder -= 100_000_000;
    }
    limbs[index] = quotient;
  }
  return remainder;
};

/** Adds eight digits, as two groups, above the `made` ones. */
const pushEightDigits = (made: number, digits: number): number => {
  const upper = (digits / 10_000) | 0;
  groups[made] = digits - upper * 10_000;
  groups[made + 1] = upper;
  return made + 2;
};

/** Splits the limbs into `groups`; returns how many there are, the highest of them not zero. */
const splitLimbs = (limbCount: number): number => {
  let count = limbCount;
  let made = 0;
  while (count > 2 || (count === 2 && limbs[1]! >= 0x20_0000)) {
    if (limbs[count - 1] === 0) count--;
    else made = pushEightDigits(made, nextEightDigits(count));
  }
  // What is left is below 2^53, so at most sixteen digits.
  const rest = count === 2 ? limbs[1]! * TWO_32 + limbs[0]! : limbs[0]!;
  if (rest < 100_000_000) made = pushEightDigits(made, rest);
  else {
    const upper = Math.floor(rest / 100_000_000);
    made = pushEightDigits(made, rest - upper * 100_000_000);
    made = pushEightDigits(made, upper);
  }
  while (made > 0 && groups[made - 1] === 0) made--;
  return made;
};

/** Writes `groups[0, made)`, of which the lowest is worth 10000^lowestWeight. */
const writeGroups = (
  made: number,
  lowestWeight: number,
  negative: boolean,
  dscale: number,
  view: DataView,
  pos: number,
): number => {
  let lowest = 0;
  while (lowest < made && groups[lowest] === 0) lowest++;
  const count = made - lowest;
  // Four 16-bit words in two writes: ndigits and weight, sign and dscale.
  const weight = count === 0 ? 0 : made - 1 + lowestWeight;
  view.setInt32(pos, (count << 16) | (weight & 0xffff));
  view.setInt32(pos + 4, (negative && count > 0 ? SIGN_NEGATIVE << 16 : 0) | dscale);
  let at = pos + HEADER_BYTES;
  for (let index = made - 1; index >= lowest; index--, at += 2) view.setUint16(at, groups[index]!);
  return at;
};

/** Writes ±limbs · 10^−scale. Uses up the limbs. */
const writeLimbs = (count: number, negative: boolean, scale: number, view: DataView, pos: number): number => {
  // Base-10,000 digits start at the decimal point: a scale of 6 takes two of them, and its last two digits are zeros.
  const lowestWeight = -((scale + 3) >> 2);
  const padding = -scale - 4 * lowestWeight;
  const used = padding === 0 ? count : padLimbs(count, PADDING[padding]!);
  return writeGroups(splitLimbs(used), lowestWeight, negative, Math.max(scale, 0), view, pos);
};

/**
 * Writes an integer of `count` little-endian 32-bit words, divided by 10^scale: Arrow's decimals and 64-bit integers.
 *
 * @param words the words; those of a `BigInt64Array` are `new Int32Array(values.buffer, values.byteOffset, …)`
 * @param signed whether the highest bit is a two's-complement sign
 * @param scale may be negative; the numeric's dscale is `max(scale, 0)`
 * @param negate writes the opposite number
 * @returns the position behind the payload; no length word is written
 */
export const writeWords = (
  words: Int32Array | Uint32Array,
  at: number,
  count: number,
  signed: boolean,
  scale: number,
  negate: boolean,
  view: DataView,
  pos: number,
): number => {
  const below = signed && (words[at + count - 1]! & 0x8000_0000) !== 0;
  if (below) {
    let carry = 1;
    for (let index = 0; index < count; index++) {
      const word = (~words[at + index]! >>> 0) + carry;
      carry = word === TWO_32 ? 1 : 0;
      limbs[index] = word;
    }
  } else for (let index = 0; index < count; index++) limbs[index] = words[at + index]!;
  return writeLimbs(count, below !== negate, scale, view, pos);
};

/**
 * Writes an unsigned big-endian integer of up to 32 bytes, `bytes[start, end)`: a uint256 as EVM datasets send it.
 *
 * @returns the position behind the payload; no length word is written
 */
export const writeBigEndian = (
  bytes: Uint8Array,
  start: number,
  end: number,
  negate: boolean,
  view: DataView,
  pos: number,
): number => {
  let count = 0;
  for (let at = end; at > start; at -= 4) {
    let limb = bytes[at - 1]!;
    if (at - 2 >= start) limb |= bytes[at - 2]! << 8;
    if (at - 3 >= start) limb |= bytes[at - 3]! << 16;
    if (at - 4 >= start) limb |= bytes[at - 4]! << 24;
    limbs[count++] = limb;
  }
  if (count === 0) limbs[0] = 0;
  return writeLimbs(count, negate, 0, view, pos);
};

/**
 * Writes a safe integer.
 *
 * @returns the position behind the payload; no length word is written
 */
export const writeSafeInteger = (value: number, negate: boolean, view: DataView, pos: number): number => {
  const magnitude = Math.abs(value);
  limbs[0] = magnitude;
  limbs[1] = magnitude / TWO_32;
  return writeLimbs(2, value < 0 !== negate, 0, view, pos);
};
