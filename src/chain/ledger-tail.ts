/** The newest committed ranges of one network, as the protocol keeps them in memory. Pure. */
import type { BlockRange, Watermark } from './range.ts';

/** Ledger rows kept in memory per network: how far back a replay or a fork is recognised without the database. */
export const LEDGER_HORIZON = 4096;

/** Blocks below the head that a reorg may still take back, where no hash is stored that would show it. */
export const REORG_BUFFER_BLOCKS = 200;

/** The newest committed ranges of one network, oldest first, at most {@link LEDGER_HORIZON}; an empty hash is unknown. */
export type LedgerTail = readonly BlockRange[];

/** The tails of all networks of a stream. */
export type LedgerTails = ReadonlyMap<string, LedgerTail>;

/** Whether older ranges than these may be committed, too. */
export const isTruncated = (tail: LedgerTail): boolean => tail.length >= LEDGER_HORIZON;

/**
 * The tail without the blocks from `from` on. A range that this cuts keeps its blocks before it; their last hash is unknown
 * then: what the server says of it was never loaded, so it proves nothing.
 */
export const cutTail = (tail: LedgerTail, from: number): LedgerTail =>
  tail
    .filter((range) => range.start < from)
    .map((range) => (range.end >= from ? { ...range, end: from - 1, hash: '', timestamp: null } : range));

/** The tail with one more range, the oldest forgotten where there are too many. */
export const extendTail = (tail: LedgerTail, range: BlockRange): LedgerTail => [
  ...tail.slice(1 - LEDGER_HORIZON),
  range,
];

/** The blocks whose hash is stored, newest first: all that a server can be asked to go on behind. */
export const knownBlocks = (tail: LedgerTail): readonly Watermark[] =>
  tail
    .filter(({ hash }) => hash !== '')
    .map(({ network, end, hash }) => ({ network, number: end, hash }))
    .toReversed();

/** Where a stream goes on by itself: behind the newest block of each network whose hash is known. */
export const resumeFrom = (tails: LedgerTails): readonly Watermark[] =>
  [...tails.values()].flatMap((tail) => knownBlocks(tail).slice(0, 1));

/** The unbroken runs of ranges, lowest first. Inside one each range joins the next, so that one block that is on the chain proves all before it. */
export const islandsOf = (tail: LedgerTail): readonly LedgerTail[] => {
  const islands: BlockRange[][] = [];
  for (const range of tail) {
    const last = islands.at(-1);
    if (last === undefined || last.at(-1)!.end + 1 < range.start) islands.push([range]);
    else last.push(range);
  }
  return islands;
};
