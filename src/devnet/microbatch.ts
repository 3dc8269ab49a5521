/** Microbatches: which blocks a stream sends next, and where a reorg makes it start again. Pure. */
import type { BlockRange } from '../chain/range.ts';
import type { Chain, ChainView } from './source.ts';

/** The last block a stream has sent, or was asked to go on from. */
export interface Position {
  readonly number: number;
  readonly hash: string;
}

/**
 * Where a stream goes on. Behind its last block while that is still on the chain; behind the common ancestor when a
 * reorg dropped it; one block back when the server does not know its hash at all.
 */
const nextStart = (chain: Chain, view: ChainView, position: Position | null): number => {
  if (position === null) return chain.earliest;
  const isSynced = position.number >= chain.earliest && position.number <= (view.head ?? -1);
  if (isSynced && view.hashOf(position.number) === position.hash) return position.number + 1;
  const ancestor = chain.commonAncestor(position.hash);
  return Math.max(chain.earliest, ancestor === null ? position.number : ancestor + 1);
};

/** The range of blocks `start`..`end` as the server announces it. */
export const rangeOf = (chain: Chain, view: ChainView, start: number, end: number): BlockRange => ({
  network: chain.network,
  start,
  end,
  hash: view.hashOf(end),
  prevHash: view.parentHashOf(start),
  timestamp: view.timestampOf(end),
});

/** The next microbatch of at most `size` blocks behind `position`; null when there is nothing to send yet. */
export const nextMicrobatch = (
  chain: Chain,
  view: ChainView,
  position: Position | null,
  size: number,
): BlockRange | null => {
  const start = nextStart(chain, view, position);
  return view.head === null || start > view.head
    ? null
    : rangeOf(chain, view, start, Math.min(start + size - 1, view.head));
};

/** Blocks `from`..`to` cut where `size` divides the number, so that equal spans are cut equally. */
export const alignedSpans = (
  from: number,
  to: number,
  size: number,
): readonly { from: number; to: number }[] => {
  const spans: { from: number; to: number }[] = [];
  for (let start = from; start <= to;) {
    const end = Math.min(to, (Math.floor(start / size) + 1) * size - 1);
    spans.push({ from: start, to: end });
    start = end + 1;
  }
  return spans;
};
