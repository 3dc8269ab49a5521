/**
 * Hashes around partitions. A server tells the hash of the last block it answers with, seldom that of a block inside; asked for
 * those on both sides, each partition is known by them, as a microbatch is, and joins its neighbours by them.
 *
 * They are asked for before the rows. A fork in between makes them hashes of blocks that have left the chain, which is noticed
 * wherever they are looked at next; the other way round, blocks that have left it would be taken for those that are on it.
 */
import type { BlockSpan } from '../chain/partitions.ts';
import type { BlockRange } from '../chain/range.ts';
import type { KnownHashes } from './catch-up-partition.ts';
import type { IngestOptions } from './run.ts';
import { findParent } from './synced.ts';

/** The server's hash of the block before `block`; null where it does not say it. */
export type HashAsker = (block: number) => Promise<string | null>;

/** Where there are no hashes to ask for. */
export const askNobody: HashAsker = () => Promise.resolve(null);

/** A server that has kept silent so often in a row is asked no more: each silence takes seconds. */
const SILENCES_MAX = 3;

/** Asks the server of a catch-up, whose newest block is `head`. */
export const createHashAsker = (options: IngestOptions, network: string, head: BlockRange): HashAsker => {
  let silences = 0;
  return async (block) => {
    if (block === head.end + 1) return head.hash;
    if (block <= 0 || block > head.end || silences >= SILENCES_MAX) return null;
    const hash = await findParent(options, network, block);
    silences = hash === null ? silences + 1 : 0;
    return hash;
  };
};

/** What a partition is to be known by. */
export const hashesAround = async (ask: HashAsker, { from, to }: BlockSpan): Promise<KnownHashes> => {
  const [parent, end] = await Promise.all([ask(from), ask(to)]);
  return { parent, end };
};
