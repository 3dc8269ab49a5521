/** The order in which balance changes are loaded: by leaf, then by primary key, as PostgreSQL's b-tree has it. */

/** Balance changes as columns; only the first `count` of each are filled. */
export interface ChangeColumns {
  /** Where the bytes of a change begin in the arena; those of the next one begin where they end. */
  readonly starts: Uint32Array;
  /** Where its account ends and its delta begins. */
  readonly accountEnds: Uint32Array;
  /** The leaf, then the first two bytes of the account. */
  readonly keyHigh: Uint32Array;
  /** The next four bytes of the account. */
  readonly keyLow: Uint32Array;
  readonly assetHigh: Int32Array;
  readonly assetLow: Uint32Array;
  readonly times: Float64Array;
  readonly blocks: Float64Array;
  readonly ordinals: Int32Array;
}

/** How many bytes of an account `keyHigh` and `keyLow` hold. */
const KEY_BYTES = 6;

const BUCKETS = 256;

/** memcmp, then the shorter one first: the order of bytea. The caller knows that the key bytes are equal. */
const compareAccounts = (columns: ChangeColumns, arena: Uint8Array, left: number, right: number): number => {
  const leftStart = columns.starts[left]!;
  const rightStart = columns.starts[right]!;
  const leftLength = columns.accountEnds[left]! - leftStart;
  const rightLength = columns.accountEnds[right]! - rightStart;
  const common = Math.min(leftLength, rightLength);
  for (let index = Math.min(KEY_BYTES, common); index < common; index++) {
    const difference = arena[leftStart + index]! - arena[rightStart + index]!;
    if (difference !== 0) return difference;
  }
  return leftLength - rightLength;
};

/** Whether two changes are of the same account and asset. */
export const sameKey = (columns: ChangeColumns, arena: Uint8Array, left: number, right: number): boolean =>
  columns.assetLow[left] === columns.assetLow[right] &&
  columns.assetHigh[left] === columns.assetHigh[right] &&
  columns.keyLow[left] === columns.keyLow[right] &&
  columns.keyHigh[left] === columns.keyHigh[right] &&
  compareAccounts(columns, arena, left, right) === 0;

const compareChanges = (columns: ChangeColumns, arena: Uint8Array, left: number, right: number): number => {
  const { assetHigh, assetLow, times, blocks, ordinals } = columns;
  return (
    compareAccounts(columns, arena, left, right) ||
    assetHigh[left]! - assetHigh[right]! ||
    assetLow[left]! - assetLow[right]! ||
    times[left]! - times[right]! ||
    blocks[left]! - blocks[right]! ||
    ordinals[left]! - ordinals[right]!
  );
};

/** One byte of a column of keys. */
interface Digit {
  readonly keys: Uint32Array | Int32Array;
  readonly shift: number;
  /** 0x80 for the highest byte of signed keys, which orders negative numbers first. */
  readonly flip: number;
}

/** One stable pass over one digit; returns false, without work, when all have the same. */
const radixPass = ({ keys, shift, flip }: Digit, from: Uint32Array, to: Uint32Array): boolean => {
  const count = from.length;
  const places = new Uint32Array(BUCKETS);
  for (let index = 0; index < count; index++) places[((keys[index]! >>> shift) & 0xff) ^ flip]!++;
  if (places[((keys[0]! >>> shift) & 0xff) ^ flip] === count) return false;
  let place = 0;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const size = places[bucket]!;
    places[bucket] = place;
    place += size;
  }
  for (let index = 0; index < count; index++) {
    const change = from[index]!;
    to[places[((keys[change]! >>> shift) & 0xff) ^ flip]!++] = change;
  }
  return true;
};

/** Merges the sorted stretches [first, middle) and [middle, last) of `from` into `to`. */
const merge = (
  columns: ChangeColumns,
  arena: Uint8Array,
  from: Uint32Array,
  to: Uint32Array,
  first: number,
  middle: number,
  last: number,
): void => {
  let left = first;
  let right = middle;
  for (let at = first; at < last; at++) {
    const takeLeft =
      left < middle && (right === last || compareChanges(columns, arena, from[left]!, from[right]!) <= 0);
    to[at] = takeLeft ? from[left++]! : from[right++]!;
  }
};

const isSorted = (
  columns: ChangeColumns,
  arena: Uint8Array,
  order: Uint32Array,
  first: number,
  last: number,
): boolean => {
  for (let at = first + 1; at < last; at++)
    if (compareChanges(columns, arena, order[at - 1]!, order[at]!) > 0) return false;
  return true;
};

/** Merge sort of order[first, last). What is in order already, as a chain sends it, is only looked through. */
const sortRun = (
  columns: ChangeColumns,
  arena: Uint8Array,
  order: Uint32Array,
  scratch: Uint32Array,
  first: number,
  last: number,
): void => {
  if (isSorted(columns, arena, order, first, last)) return;
  const middle = (first + last) >> 1;
  sortRun(columns, arena, order, scratch, first, middle);
  sortRun(columns, arena, order, scratch, middle, last);
  scratch.set(order.subarray(first, last), first);
  merge(columns, arena, scratch, order, first, middle, last);
};

/** Sorts each stretch of equal keys by what the keys do not hold. */
const sortRuns = (
  columns: ChangeColumns,
  arena: Uint8Array,
  order: Uint32Array,
  scratch: Uint32Array,
): void => {
  const { keyHigh, keyLow } = columns;
  for (let first = 0; first < order.length;) {
    const change = order[first]!;
    let last = first + 1;
    while (
      last < order.length &&
      keyLow[order[last]!] === keyLow[change] &&
      keyHigh[order[last]!] === keyHigh[change]
    )
      last++;
    if (last - first > 1) sortRun(columns, arena, order, scratch, first, last);
    first = last;
  }
};

/** The digits of the radix sort, the least significant first. */
const digitsOf = ({ assetHigh, keyLow, keyHigh }: ChangeColumns): Digit[] => [
  { keys: assetHigh, shift: 16, flip: 0 },
  { keys: assetHigh, shift: 24, flip: 0x80 },
  ...[keyLow, keyHigh].flatMap((keys) => [0, 8, 16, 24].map((shift) => ({ keys, shift, flip: 0 }))),
];

/**
 * The changes' numbers, sorted by (leaf, account, asset, time, block, ordinal).
 *
 * A stable radix sort by leaf, the first bytes of the account and the first two of the asset id leaves stretches of one
 * account and asset, as a rule, and in these the order in which a chain sends them, which is that of time; only what is
 * not yet in order is merge sorted by the whole key.
 */
export const sortedOrder = (columns: ChangeColumns, arena: Uint8Array, count: number): Uint32Array => {
  let order = new Uint32Array(count);
  let spare = new Uint32Array(count);
  for (let index = 0; index < count; index++) order[index] = index;
  if (count < 2) return order;
  for (const digit of digitsOf(columns)) if (radixPass(digit, order, spare)) [order, spare] = [spare, order];
  sortRuns(columns, arena, order, spare);
  return order;
};
