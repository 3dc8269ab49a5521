/** The chain of the simulator: blocks with a few transfers, forks of any depth, and a server's memory of what it dropped. */
import type { BlockRange } from '../../src/chain/range.ts';
import { hashOf, SCRIPT_TIME, type ScriptedTransfer } from '../jobs/scripted-server.ts';

/** A repeatable source of integers from 0 to `below` - 1. */
export type Dice = (below: number) => number;

/** mulberry32. */
export const diceOf = (start: number): Dice => {
  let state = start | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
};

/** A block: what it is called, whose child it is, and what moves in it. */
export interface ModelBlock {
  readonly number: number;
  readonly hash: string;
  readonly parent: string;
  readonly transfers: readonly ScriptedTransfer[];
}

/** A chain that grows and forks, and what a server knows of it. */
export interface ModelChain {
  readonly network: string;
  /** Blocks below the head that a fork takes back at most. */
  readonly deepest: number;
  readonly blocks: readonly ModelBlock[];
  grow(count: number): void;
  /** Replaces the last `depth` blocks by at least as many: a branch that wins is never shorter. */
  fork(depth: number, more: number): void;
  /** Brings back the last branch that a fork dropped, with some blocks on top; nothing where there is none, or it left too long ago. */
  revive(more: number): void;
  /** The server starts again, and knows only what is on the chain. */
  forget(): void;
  range(start: number, end: number): BlockRange;
  /** Where a stream goes on behind a block: the block after the last common one, or one back if it is not known. */
  nextStart(position: { readonly number: number; readonly hash: string } | null): number;
}

/** A chain without blocks. */
export const modelChain = (network: string, dice: Dice, deepest = Infinity): ModelChain => {
  let blocks: ModelBlock[] = [];
  let known = new Map<string, ModelBlock>();
  let dropped: readonly ModelBlock[] = [];
  let branch = 0;
  const add = (count: number): void => {
    for (let index = 0; index < count; index += 1) {
      const number = blocks.length;
      const transfers = Array.from({ length: dice(3) }, () => ({
        block: number,
        network,
        from: 1 + dice(4),
        to: 1 + dice(4),
        value: String(1 + dice(9)),
      }));
      const parent = blocks.at(-1)?.hash ?? hashOf(-1, 'root', network);
      const block = { number, hash: hashOf(number, `branch ${branch}`, network), parent, transfers };
      blocks.push(block);
      known.set(block.hash, block);
    }
  };
  const isOnChain = (hash: string, number: number): boolean => blocks[number]?.hash === hash;
  return {
    network,
    deepest,
    get blocks() {
      return blocks;
    },
    grow: add,
    fork: (depth, more) => {
      const gone = Math.min(depth, deepest, blocks.length);
      branch += 1;
      dropped = blocks;
      blocks = blocks.slice(0, blocks.length - gone);
      add(gone + more);
    },
    revive: (more) => {
      const common = blocks.findIndex(({ hash }, number) => dropped[number]?.hash !== hash);
      if (dropped.length === 0 || common < 0 || blocks.length - common > deepest) return;
      const missing = Math.max(0, blocks.length - dropped.length);
      [blocks, dropped] = [[...dropped], blocks];
      for (const block of blocks) known.set(block.hash, block);
      branch += 1;
      add(missing + more);
    },
    forget: () => {
      known = new Map(blocks.map((block) => [block.hash, block]));
    },
    range: (start, end) => ({
      network,
      start,
      end,
      hash: blocks[end]!.hash,
      prevHash: blocks[start]!.parent,
      timestamp: SCRIPT_TIME + end,
    }),
    nextStart: (position) => {
      if (position === null) return 0;
      if (isOnChain(position.hash, position.number)) return position.number + 1;
      let ancestor = known.get(position.hash);
      if (ancestor === undefined) return Math.min(position.number, blocks.length - 1);
      while (ancestor !== undefined && !isOnChain(ancestor.hash, ancestor.number))
        ancestor = known.get(ancestor.parent);
      return (ancestor?.number ?? -1) + 1;
    },
  };
};
