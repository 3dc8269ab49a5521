/**
 * How a range that a server announces stands to what is loaded: whether it goes on, comes again, or is another fork.
 *
 * There is no reorg flag on the wire. A server that knows the block it was asked to go on behind starts at the first block
 * of the new fork; one that has forgotten it goes back by one block only, wherever the fork began. So a fork is believed
 * where the block before it is proved, by its stored hash or by a server that went back further than one block; otherwise
 * the stream is opened again behind an older block.
 */
import {
  isTruncated,
  knownBlocks,
  LEDGER_HORIZON,
  REORG_BUFFER_BLOCKS,
  type LedgerTail,
} from './ledger-tail.ts';
import type { BlockRange, Watermark } from './range.ts';

/** Why a range is refused. */
export type Refusal = 'inverted' | 'gap' | 'orphan' | 'backwards' | 'jump' | 'horizon';

/** How a new range stands to what is loaded. */
export type Verdict =
  /** It follows. */
  | { readonly kind: 'next' }
  /** All its blocks are loaded, on this fork. */
  | { readonly kind: 'replay' }
  /** It takes the place of blocks whose hash was never known: no reorg, but nothing proves that they are the same. */
  | { readonly kind: 'reread' }
  /** The blocks from its start on are no longer on the chain. */
  | { readonly kind: 'fork' }
  /**
   * The fork began before it, at a block that only an older hash can find; null is the stream's beginning. Where no hash is
   * known for long, `reload` is the first block that a reorg may still have reached: all from there on is loaded again.
   */
  | { readonly kind: 'rewind'; readonly to: Watermark | null; readonly reload: number | null }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly what: string };

/**
 * The verdict on `incoming`.
 *
 * @param position the block that the server was asked to go on behind, or has sent last; null when it started by itself
 * @param buffer newest blocks that a reorg may take back where nothing proves how deep it is
 */
export const classify = (
  tail: LedgerTail,
  incoming: BlockRange,
  position: number | null,
  buffer = REORG_BUFFER_BLOCKS,
): Verdict => {
  if (incoming.end < incoming.start) return refused('inverted', 'ends before it starts');
  const last = tail.at(-1);
  if (last === undefined) return { kind: 'next' };
  if (incoming.start > last.end + 1) {
    return refused('gap', `leaves a gap: block ${last.end} is the last one loaded`);
  }
  if (incoming.start === last.end + 1) {
    return differ(incoming.prevHash, last.hash)
      ? orphan(incoming, { number: last.end, hash: last.hash })
      : { kind: 'next' };
  }
  if (isReplay(tail, incoming)) return { kind: 'replay' };
  if (isTruncated(tail) && incoming.start < tail[0]!.start) return beyondHorizon(tail);
  if (incoming.prevHash !== null && incoming.prevHash === last.hash) {
    return refused('backwards', `goes back behind block ${last.end} yet names it as its parent`);
  }
  return placeFork(tail, incoming, position, buffer);
};

/** A range that starts inside what is loaded and is no replay. */
const placeFork = (
  tail: LedgerTail,
  incoming: BlockRange,
  position: number | null,
  buffer: number,
): Verdict => {
  const known = knownBlocks(tail);
  const parent = known.find(({ number }) => number === incoming.start - 1);
  /** Where a server begins at the latest that was asked to go on behind the position, or by itself. */
  const latest = position === null ? tail[0]!.start : position + 1;
  if (differ(incoming.prevHash, parent?.hash ?? null)) {
    return incoming.start >= latest && position !== null
      ? orphan(incoming, parent!)
      : rewind(tail, incoming, position, buffer);
  }
  if (incoming.start > (known[0]?.number ?? -1)) return { kind: 'reread' };
  if (incoming.start > latest) {
    return refused(
      'jump',
      `starts in the middle of what is loaded, though asked to go on ${position === null ? 'from the beginning' : `behind block ${position}`}`,
    );
  }
  const isProved = parent !== undefined && incoming.prevHash !== null;
  // Going back by one block is all that a server can do that has forgotten the block; with a step further it says it knows.
  const isOneBack = incoming.start === position && (incoming.start > tail[0]!.start || isTruncated(tail));
  return isOneBack && !isProved ? rewind(tail, incoming, position, buffer) : { kind: 'fork' };
};

/**
 * Where to open the stream again: twice as many stored hashes back as before, so that a fork of any depth within the
 * ledger is found in at most log2({@link LEDGER_HORIZON}) steps, none of which erases anything.
 */
const rewind = (tail: LedgerTail, incoming: BlockRange, position: number | null, buffer: number): Verdict => {
  const known = knownBlocks(tail);
  const older = known.findIndex(({ number }) => number < incoming.start);
  const current = position === null ? -1 : known.findIndex(({ number }) => number <= position);
  const to = older < 0 ? undefined : known[Math.min(Math.max(older, 2 * current), known.length - 1)];
  if (to !== undefined) return { kind: 'rewind', to, reload: null };
  const reload = unprovedFrom(tail, incoming.start);
  // The last hash there was is of a block behind the buffer: what else the fork took back, nothing says.
  const isBeyond = current > 0 && tail.at(-1)!.end - known[current]!.number >= buffer;
  if (reload > tail[0]!.start) return isBeyond ? beyondHorizon(tail) : { kind: 'rewind', to: null, reload };
  const blocks = tail.at(-1)!.end - tail[0]!.start + 1;
  return isTruncated(tail) || blocks > LEDGER_HORIZON
    ? beyondHorizon(tail)
    : { kind: 'rewind', to: null, reload: null };
};

/** The first block that a reorg of `block` may have taken back where no hash before it is known, as behind a catch-up. */
const unprovedFrom = (tail: LedgerTail, block: number): number =>
  Math.min(tail.findLast((range) => range.start < block)?.start ?? block, block - REORG_BUFFER_BLOCKS);

const refused = (refusal: Refusal, what: string): Verdict => ({ kind: 'refused', refusal, what });

const orphan = (incoming: BlockRange, last: Pick<Watermark, 'number' | 'hash'>): Verdict =>
  refused(
    'orphan',
    `does not follow block ${last.number} (${last.hash}), its parent is ${incoming.prevHash}`,
  );

const beyondHorizon = (tail: LedgerTail): Verdict =>
  refused(
    'horizon',
    `forks off further back than the stored hashes reach, the oldest of which is of block ${knownBlocks(tail).at(-1)?.number ?? 'none'}`,
  );

/**
 * Whether all blocks of a range are loaded. The hash of its last block stands for all before it, so the same blocks are
 * recognised although they were cut into batches otherwise.
 */
const isReplay = (tail: LedgerTail, incoming: BlockRange): boolean => {
  const last = tail.findLastIndex(
    (known) => known.end === incoming.end && known.hash === incoming.hash && known.hash !== '',
  );
  if (last < 0) return false;
  let first = last;
  while (first > 0 && tail[first]!.start > incoming.start && tail[first - 1]!.end === tail[first]!.start - 1)
    first--;
  return tail[first]!.start <= incoming.start;
};

/** Two hashes that are both known and not the same. */
const differ = (a: string | null, b: string | null): boolean =>
  a !== null && b !== null && a !== '' && b !== '' && a !== b;
