/** Cuts what a server announces to the span of blocks that was asked for. */
import type { BatchMetadata, BlockRange } from './range.ts';

/** Blocks `from` (inclusive) to `to` (exclusive); null is open. */
export interface BlockWindow {
  readonly from: number | null;
  readonly to: number | null;
}

/**
 * The part of a range inside the window, null when there is none. A server cannot tell the hash of a block in the middle
 * of its range: where the end is cut off the hash is empty, where the start is, the parent is unknown.
 */
const clipRange = (range: BlockRange, window: BlockWindow): BlockRange | null => {
  const start = Math.max(range.start, window.from ?? 0);
  const end = Math.min(range.end, (window.to ?? Infinity) - 1);
  if (end < start) return null;
  return {
    ...range,
    start,
    end,
    prevHash: start === range.start ? range.prevHash : null,
    hash: end === range.end ? range.hash : '',
    timestamp: end === range.end ? range.timestamp : null,
  };
};

/** The metadata inside the window; null when every range lies outside, so that the message is none of our business. */
export const clipMetadata = (metadata: BatchMetadata, window: BlockWindow): BatchMetadata | null => {
  if (metadata.ranges.length === 0) return metadata;
  const ranges = metadata.ranges.map((range) => clipRange(range, window)).filter((range) => range !== null);
  return ranges.length === 0 ? null : { ranges, complete: metadata.complete };
};
