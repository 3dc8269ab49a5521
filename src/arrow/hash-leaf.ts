/** The hash partition of an account, computed as PostgreSQL's `PARTITION BY HASH (bytea)` computes it. */

/** `HASH_PARTITION_SEED` of PostgreSQL's `partition.h`, in halves. */
const SEED_HIGH = 0x7a5b2236;
const SEED_LOW = 0x7996dcfd;

/** What `hash_combine64` adds to the hash of the first (and only) key column, in halves. */
const COMBINE_HIGH = 0x49a0f4dd;
const COMBINE_LOW = 0x15e5a8e3;

/** lookup3's start value: the golden ratio, as `hash_bytes_extended` has it, without the length. */
const START = (0x9e3779b9 + 3923095) | 0;

const TWO_32 = 0x1_0000_0000;

/** The three words of the running hash; module state, because a function can return only one number. */
let a = 0;
let b = 0;
let c = 0;

const rotate = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

const mix = (): void => {
  a = ((a - c) | 0) ^ rotate(c, 4);
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ rotate(a, 6);
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ rotate(b, 8);
  b = (b + a) | 0;
  a = ((a - c) | 0) ^ rotate(c, 16);
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ rotate(a, 19);
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ rotate(b, 4);
  b = (b + a) | 0;
};

const finish = (): void => {
  c = ((c ^ b) - rotate(b, 14)) | 0;
  a = ((a ^ c) - rotate(c, 11)) | 0;
  b = ((b ^ a) - rotate(a, 25)) | 0;
  c = ((c ^ b) - rotate(b, 16)) | 0;
  a = ((a ^ c) - rotate(c, 4)) | 0;
  b = ((b ^ a) - rotate(a, 14)) | 0;
  c = ((c ^ b) - rotate(b, 24)) | 0;
};

/** The little-endian word at `at`; bytes from `end` on count as zero. */
const wordAt = (bytes: Uint8Array, at: number, end: number): number => {
  if (at + 4 <= end)
    return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  let word = 0;
  for (let index = at; index < end; index++) word |= bytes[index]! << (8 * (index - at));
  return word;
};

/** Leaves `hash_bytes_extended(bytes[start, end), HASH_PARTITION_SEED)` in `b` (high) and `c` (low). */
const hashBytes = (bytes: Uint8Array, start: number, end: number): void => {
  a = b = c = (START + (end - start)) | 0;
  a = (a + SEED_HIGH) | 0;
  b = (b + SEED_LOW) | 0;
  mix();
  let at = start;
  for (; end - at >= 12; at += 12) {
    a = (a + wordAt(bytes, at, end)) | 0;
    b = (b + wordAt(bytes, at + 4, end)) | 0;
    c = (c + wordAt(bytes, at + 8, end)) | 0;
    mix();
  }
  a = (a + wordAt(bytes, at, end)) | 0;
  b = (b + wordAt(bytes, at + 4, end)) | 0;
  // The lowest byte of c stands for the length, which is in the start value already.
  c = (c + (wordAt(bytes, at + 8, end) << 8)) | 0;
  finish();
};

/** Chooses the hash partition of the account whose bytes are `bytes[start, end)`: a remainder, 0 … modulus − 1. */
export type LeafOf = (bytes: Uint8Array, start: number, end: number) => number;

/**
 * The remainder by which PostgreSQL routes a `bytea` hash key: the row lands in the partition
 * `FOR VALUES WITH (MODULUS modulus, REMAINDER leaf)`. Agrees with `satisfies_hash_partition` on little-endian servers.
 *
 * @param modulus 1 … 65535
 */
export const createLeafOf = (modulus: number): LeafOf => {
  const carryWeight = TWO_32 % modulus;
  return (bytes, start, end) => {
    hashBytes(bytes, start, end);
    const low = (c >>> 0) + COMBINE_LOW;
    const high = ((b >>> 0) + COMBINE_HIGH + (low >= TWO_32 ? 1 : 0)) % TWO_32;
    return ((high % modulus) * carryWeight + (low % TWO_32)) % modulus;
  };
};
