/** Seeded randomness: the same words for the same seed, branch and block, on every machine. */
import { createHash } from 'node:crypto';

/** A generator that can be put back to the start of any block. */
export interface Random {
  /** Goes to the start of a block of a branch; `salt` keeps tables of one block apart. */
  readonly seek: (branch: number, block: number, salt: number) => void;
  /** The next 32 random bits, 0 to 2^32 - 1. */
  readonly next: () => number;
}

/** The first rounds of sfc32 still show the seed. */
const WARM_UP_ROUNDS = 12;

/** Four 32-bit words for a text: where all randomness of a chain begins. */
export const seedWords = (text: string): Uint32Array => {
  const digest = createHash('sha256').update(text).digest();
  return Uint32Array.from({ length: 4 }, (_, index) => digest.readUInt32LE(index * 4));
};

/** Small fast counting generator (Chris Doty-Humphrey's sfc32, from PractRand). */
export const createRandom = (seed: Uint32Array): Random => {
  const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = seed;
  let [a, b, c, counter] = [0, 0, 0, 1];
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    c |= 0;
    return sum >>> 0;
  };
  const seek = (branch: number, block: number, salt: number): void => {
    a = (s0 ^ block) | 0;
    b = (s1 ^ Math.floor(block / 0x1_0000_0000) ^ Math.imul(salt, 0x9e3779b1)) | 0;
    c = (s2 ^ Math.imul(branch + 1, 0x85ebca6b)) | 0;
    counter = s3 | 1;
    for (let round = 0; round < WARM_UP_ROUNDS; round += 1) next();
  };
  seek(0, 0, 0);
  return { seek, next };
};

/** Draws from 0 to `count` - 1, the index k with weight 1 / (k + 1), in constant time (Vose's alias method). */
export const createZipf = (count: number, next: () => number): (() => number) => {
  const weights = Float64Array.from({ length: count }, (_, index) => 1 / (index + 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const scaled = weights.map((weight) => (weight * count) / total);
  const threshold = new Float64Array(count).fill(1);
  const alias = Uint32Array.from({ length: count }, (_, index) => index);
  const small: number[] = [];
  const large: number[] = [];
  scaled.forEach((weight, index) => (weight < 1 ? small : large).push(index));
  while (small.length > 0 && large.length > 0) {
    const low = small.pop() ?? 0;
    const high = large.pop() ?? 0;
    threshold[low] = scaled[low] ?? 1;
    alias[low] = high;
    scaled[high] = (scaled[high] ?? 0) + (scaled[low] ?? 0) - 1;
    ((scaled[high] ?? 0) < 1 ? small : large).push(high);
  }
  return () => {
    const slot = Math.floor((next() / 0x1_0000_0000) * count);
    return next() / 0x1_0000_0000 < (threshold[slot] ?? 1) ? slot : (alias[slot] ?? slot);
  };
};
