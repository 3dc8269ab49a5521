/** Running totals of what a run, or all tries of one, has committed. */
import type { Committed } from '../warehouse/batches.ts';

/** The totals. */
export interface Tally {
  rows: number;
  quarantined: number;
  batches: number;
  blocks: number;
  reorgs: number;
  unmatched: number | null;
  dropped: number;
}

/** Nothing yet. */
export const newTally = (): Tally => ({
  rows: 0,
  quarantined: 0,
  batches: 0,
  blocks: 0,
  reorgs: 0,
  unmatched: null,
  dropped: 0,
});

/** Adds a commit. */
export const countCommit = (tally: Tally, result: Committed): void => {
  tally.rows += result.rows;
  tally.quarantined += result.quarantined;
  if (result.unmatched !== null) tally.unmatched = (tally.unmatched ?? 0) + result.unmatched;
  tally.dropped += result.dropped;
  tally.batches += result.ranges.length;
  for (const { range } of result.ranges) tally.blocks += range.end - range.start + 1;
};
