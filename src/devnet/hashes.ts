/** The hash chain of a simulated network: which branch each block is on, its hash, and the hashes reorgs dropped. */
import { hash as digest } from 'node:crypto';
import { HASH_BYTES } from './columns.ts';

/** Branch `branch` holds the blocks from `from` up to the next entry's, or to the head. */
interface Fork {
  readonly branch: number;
  readonly from: number;
}

/** The canonical chain at one moment; later changes make a new one and leave this as it is. */
export interface Lineage {
  readonly forks: readonly Fork[];
  /** Number of blocks, hence the head + 1. */
  readonly length: number;
  /** 32 bytes per block; may hold more than `length` blocks. */
  readonly hashes: Buffer;
}

/** The chain before its first block. */
export const EMPTY_LINEAGE: Lineage = { forks: [{ branch: 0, from: 0 }], length: 0, hashes: Buffer.alloc(0) };

const hexOf = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString('hex')}`;

/** Raw hash of a block of this chain; zeros below its first. */
const rawHash = ({ hashes }: Lineage, number: number): Buffer =>
  number < 0 ? Buffer.alloc(HASH_BYTES) : hashes.subarray(number * HASH_BYTES, (number + 1) * HASH_BYTES);

/** Lower-case `0x` hex; all zeros for the parent of block 0. */
export const hashOf = (lineage: Lineage, number: number): string => hexOf(rawHash(lineage, number));

/** Bytes of the hashes of blocks `from`..`to`, both inclusive, -1 allowed. */
export const hashBytes = (lineage: Lineage, from: number, to: number): Uint8Array =>
  from < 0
    ? Buffer.concat([rawHash(lineage, -1), hashBytes(lineage, 0, to)])
    : Uint8Array.from(lineage.hashes.subarray(from * HASH_BYTES, (to + 1) * HASH_BYTES));

/** The branch a block lies on. */
export const branchOf = ({ forks }: Lineage, number: number): number =>
  forks.findLast(({ from }) => from <= number)?.branch ?? 0;

const grown = (hashes: Buffer, blocks: number): Buffer => {
  if (hashes.length >= blocks * HASH_BYTES) return hashes;
  const larger = Buffer.alloc(Math.max(blocks, (2 * hashes.length) / HASH_BYTES, 1024) * HASH_BYTES);
  hashes.copy(larger);
  return larger;
};

/**
 * The chain with `blocks` more. Hash of a block: SHA-256 over seed, branch, number and the parent's hash. Written
 * behind the head in place: no earlier lineage looks there, as a reorg makes its own copy.
 */
export const extend = (lineage: Lineage, seed: Uint8Array, blocks: number): Lineage => {
  const length = lineage.length + blocks;
  const hashes = grown(lineage.hashes, length);
  const preimage = Buffer.alloc(seed.length + 12 + HASH_BYTES);
  preimage.set(seed);
  const [branchAt, numberAt, parentAt] = [seed.length, seed.length + 4, seed.length + 12];
  for (let number = lineage.length; number < length; number += 1) {
    preimage.writeUInt32BE(branchOf(lineage, number), branchAt);
    preimage.writeBigUInt64BE(BigInt(number), numberAt);
    preimage.fill(0, parentAt);
    if (number > 0) hashes.copy(preimage, parentAt, (number - 1) * HASH_BYTES, number * HASH_BYTES);
    hashes.set(digest('sha256', preimage, 'buffer'), number * HASH_BYTES);
  }
  return { forks: lineage.forks, length, hashes };
};

/** The chain without its last `depth` blocks, about to go on as `branch`. */
export const forkOff = (lineage: Lineage, depth: number, branch: number): Lineage => {
  const from = lineage.length - depth;
  return {
    forks: [...lineage.forks.filter((fork) => fork.from < from), { branch, from }],
    length: from,
    hashes: Buffer.from(lineage.hashes.subarray(0, from * HASH_BYTES)),
  };
};

/** What is remembered of a dropped block. */
interface Orphan {
  readonly number: number;
  readonly parent: string;
}

/** Dropped blocks that are remembered; the oldest are forgotten first. */
const MAX_ORPHANS = 100_000;

/** The memory of dropped blocks. */
export interface Orphanage {
  /** Remembers the last `depth` blocks of a chain. */
  readonly remember: (lineage: Lineage, depth: number) => void;
  /** Number of the dropped block's last ancestor that is on `lineage`, -1 for none; null for an unknown hash. */
  readonly commonAncestor: (lineage: Lineage, hash: string) => number | null;
}

export const createOrphanage = (): Orphanage => {
  const orphans = new Map<string, Orphan>();
  return {
    remember: (lineage, depth) => {
      for (let number = lineage.length - depth; number < lineage.length; number += 1) {
        orphans.set(hashOf(lineage, number), { number, parent: hashOf(lineage, number - 1) });
      }
      for (const hash of orphans.keys()) {
        if (orphans.size <= MAX_ORPHANS) break;
        orphans.delete(hash);
      }
    },
    commonAncestor: (lineage, hash) => {
      const orphan = orphans.get(hash);
      if (orphan === undefined) return null;
      let { number, parent } = orphan;
      for (;;) {
        number -= 1;
        if (number < 0 || (number < lineage.length && hashOf(lineage, number) === parent)) return number;
        const next = orphans.get(parent);
        if (next === undefined) return null;
        ({ parent } = next);
      }
    },
  };
};
