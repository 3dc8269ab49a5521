/** Running totals of what a run, or all tries of one, has committed. */
import type { BlockRange } from '../chain/range.ts';
import type { Committed } from '../warehouse/batches.ts';
import { TIME_EDGES_SECONDS, type StreamHealth, type StreamWork } from '../warehouse/stream-health.ts';

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

const NO_TIMES: readonly number[] = [...TIME_EDGES_SECONDS, Infinity].map(() => 0);

/** The counts with one time more: in the first class that it does not exceed. */
const countTime = (counts: readonly number[], seconds: number): readonly number[] => {
  const found = TIME_EDGES_SECONDS.findIndex((edge) => seconds <= edge);
  const place = found < 0 ? TIME_EDGES_SECONDS.length : found;
  return counts.map((count, at) => (at === place ? count + 1 : count));
};

/** No work yet. */
export const NO_WORK: StreamWork = {
  rows: 0,
  batches: 0,
  commits: 0,
  bytes: 0,
  copy_seconds: 0,
  fold_seconds: 0,
  commit_seconds: 0,
  copy_times: NO_TIMES,
  fold_times: NO_TIMES,
  commit_times: NO_TIMES,
  reorgs: 0,
};

/** The work with one commit more. */
export const addCommit = (work: StreamWork, { rows, ranges, cost }: Committed): StreamWork => ({
  ...work,
  rows: work.rows + rows,
  batches: work.batches + ranges.length,
  commits: work.commits + 1,
  bytes: work.bytes + cost.bytes,
  copy_seconds: work.copy_seconds + cost.copy_ms / 1000,
  fold_seconds: work.fold_seconds + cost.fold_ms / 1000,
  commit_seconds: work.commit_seconds + cost.commit_ms / 1000,
  copy_times: countTime(work.copy_times, cost.copy_ms / 1000),
  fold_times: countTime(work.fold_times, cost.fold_ms / 1000),
  commit_times: countTime(work.commit_times, cost.commit_ms / 1000),
});

/** Reorgs that `status` can still show. */
const REORGS_SHOWN_MAX = 10;

/** What a stream has to say after one reorg more. */
export const addReorg = (
  { work, reorgs }: Pick<StreamHealth, 'work' | 'reorgs'>,
  { range, rowsErased: rows }: { readonly range: BlockRange; readonly rowsErased: number },
  at: Date,
): Pick<StreamHealth, 'work' | 'reorgs'> => ({
  work: { ...work, reorgs: work.reorgs + 1 },
  reorgs: [{ network: range.network, from: range.start, rows, at: at.toISOString() }, ...reorgs].slice(
    0,
    REORGS_SHOWN_MAX,
  ),
});
