/** Cuts the blocks that are missing into partitions, one at a time and lowest first, from what was learned meanwhile. Pure. */

/** Blocks `from` (inclusive) to `to` (exclusive). */
export interface BlockSpan {
  readonly from: number;
  readonly to: number;
}

/** What decides how large a partition is. */
export type PartitionRule =
  | { readonly kind: 'partitions'; readonly partitions: number }
  | { readonly kind: 'blocks'; readonly blocks: number }
  /** As many blocks as have about so many rows. */
  | { readonly kind: 'rows'; readonly rows: number };

/** A hole that is still to be loaded. */
interface OpenSpan extends BlockSpan {
  /** No partition of it may have more blocks; null where nothing is known against larger ones. */
  readonly most: number | null;
}

/** Blocks of a partition, and the rows that were in them. */
interface Sample {
  readonly blocks: number;
  readonly rows: number;
}

/** What is left to load, and what is known of its rows. */
export interface PartitionPlan {
  readonly rule: PartitionRule;
  /** Lowest first; no two overlap. */
  readonly open: readonly OpenSpan[];
  /** Blocks there were to load at the beginning. */
  readonly total: number;
  /** The newest partitions that were loaded, or found too large. */
  readonly seen: readonly Sample[];
}

/** A size by rows begins with so many blocks: what one microbatch has. */
const FIRST_BLOCKS = 1000;
/** So many partitions speak for the rows of the next one, the densest of them loudest. */
const SAMPLES_MAX = 4;
/** How much larger a partition may be than those before it: a dense stretch behind a sparse one must not come as one piece. */
const GROWTH_MAX = 4;
/** Blocks of a partition at most, however empty they are. */
const BLOCKS_MAX = 10_000_000;
/** A partition with so many times the rows it was meant to have is given up, and cut in as many. */
const SPLIT = 8;

/** Number of blocks. */
export const lengthOf = ({ from, to }: BlockSpan): number => to - from;

/** Blocks of all spans. */
const blocksOf = (spans: readonly BlockSpan[]): number =>
  spans.reduce((sum, span) => sum + lengthOf(span), 0);

/** A plan that loads these holes. */
export const planPartitions = (holes: readonly BlockSpan[], rule: PartitionRule): PartitionPlan => {
  const open = holes
    .filter((hole) => hole.to > hole.from)
    .map(({ from, to }) => ({ from, to, most: null }))
    .toSorted((a, b) => a.from - b.from);
  return { rule, open, total: blocksOf(open), seen: [] };
};

/** Blocks of the next partition, before it is cut by the end of its hole. */
const nextSize = ({ rule, open, total, seen }: PartitionPlan, workers: number): number => {
  switch (rule.kind) {
    case 'blocks':
      return rule.blocks;
    case 'partitions':
      return Math.max(1, Math.ceil(total / rule.partitions));
    case 'rows': {
      // Near the end every worker gets a share, instead of one of them all that is left.
      const share = Math.ceil(blocksOf(open) / workers);
      return Math.max(1, Math.min(sizeByRows(seen, rule.rows), share));
    }
  }
};

const sizeByRows = (seen: readonly Sample[], rows: number): number => {
  if (seen.length === 0) return Math.min(FIRST_BLOCKS, rows);
  const density = Math.max(...seen.map((sample) => sample.rows / sample.blocks));
  const largest = Math.max(...seen.map((sample) => sample.blocks));
  return Math.floor(Math.min(rows / density, largest * GROWTH_MAX, BLOCKS_MAX));
};

/**
 * The lowest partition that is still to be loaded, and the plan without it; null when none is left. It never reaches across
 * what is loaded already.
 *
 * @param workers how many share the work
 * @param most blocks it may have, for a caller that wants less than the rule gives
 */
export const takePartition = (
  plan: PartitionPlan,
  workers: number,
  most = Infinity,
): { readonly partition: BlockSpan; readonly plan: PartitionPlan } | null => {
  const [lowest, ...others] = plan.open;
  if (lowest === undefined) return null;
  const size = Math.max(1, Math.min(nextSize(plan, workers), lowest.most ?? Infinity, most));
  const to = Math.min(lowest.to, lowest.from + size);
  const rest = to < lowest.to ? [{ ...lowest, from: to }] : [];
  return { partition: { from: lowest.from, to }, plan: { ...plan, open: [...rest, ...others] } };
};

/** The plan that has learned from a partition how many rows there are. */
export const noteRows = (plan: PartitionPlan, partition: BlockSpan, rows: number): PartitionPlan => ({
  ...plan,
  seen: [...plan.seen.slice(1 - SAMPLES_MAX), { blocks: lengthOf(partition), rows }],
});

/** Rows beyond which a partition is to be given up and split; null for never. */
export const rowsToSplitAt = ({ rule }: PartitionPlan, partition: BlockSpan): number | null =>
  rule.kind === 'rows' && lengthOf(partition) > 1 ? rule.rows * SPLIT : null;

/** The plan that loads a partition again, in smaller pieces: `rows` came of it before it was given up. */
export const splitPartition = (plan: PartitionPlan, partition: BlockSpan, rows: number): PartitionPlan => ({
  ...noteRows(plan, partition, rows),
  open: [...plan.open, { ...partition, most: Math.max(1, Math.floor(lengthOf(partition) / SPLIT)) }].toSorted(
    (a, b) => a.from - b.from,
  ),
});
