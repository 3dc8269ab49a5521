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
import { findParent, findSynced } from './synced.ts';

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
    if (block <= 0 || block > head.end + 1 || silences >= SILENCES_MAX) return null;
    if (block === head.end + 1) {
      // Nothing comes behind the head that a stream could begin with; and the hash it had when it was found may be of a fork by now.
      const now = (await findSynced(options)).find((synced) => synced.network === network);
      if (now === undefined || now.end < head.end) return null;
      if (now.end === head.end) return now.hash;
    }
    const hash = await findParent(options, network, block);
    silences = hash === null ? silences + 1 : 0;
    return hash;
  };
};

/** What a partition is to be known by: its end is asked for first, so that no fork in between leaves an old parent behind a new end. */
export const hashesAround = async (ask: HashAsker, { from, to }: BlockSpan): Promise<KnownHashes> => {
  const end = await ask(to);
  return { parent: await ask(from), end };
};
