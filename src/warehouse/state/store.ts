/** What is loaded of a stream, and where it goes on: the contract of the ledger, whatever it is kept in. */
import type { LedgerTails } from '../../chain/ledger-tail.ts';
import type { BlockRange, Watermark } from '../../chain/range.ts';
import type { BlockWindow } from '../../chain/window.ts';
import { WarehouseError } from '../../runtime/errors.ts';

/** What a range brought: counted per range, kept in its ledger row. */
export interface RangeCount {
  readonly rows: number;
  readonly quarantined: number;
  /** Earliest and latest time among the rows, microseconds since 2000-01-01 UTC; null where rows carry no time. */
  readonly minTime: number | null;
  readonly maxTime: number | null;
}

/** A range about to be committed. */
export interface LedgerEntry {
  readonly range: BlockRange;
  readonly count: RangeCount;
}

/** Blocks that are to go: a fork takes all behind `from`, what is read again only those up to `to`. */
export interface Erasure {
  readonly network: string;
  readonly from: number;
  /** Inclusive, and the end of a range; null for all. */
  readonly to: number | null;
}

/** The part of the ledger that an erasure concerns. */
export interface InvalidSpan {
  readonly from: number;
  readonly to: number | null;
  /** End of the range that `from` cuts in two; null when a range starts there. */
  readonly cutEnd: number | null;
  /** No row of these blocks is earlier than this; null where times are not known. */
  readonly minTime: Date | null;
}

/**
 * The ledger of one stream. Ranges are known by their identity, SHA-256 over network, start, end, hash and parent hash, so
 * that the same blocks on another fork are others.
 *
 * A store over a database writes on the connection it was made for: in the transaction of the rows, so that both become
 * true together. One in memory lasts as long as its process.
 */
export interface StateStore {
  /** Whether exactly this range is committed; false once a reorg has taken any block of it back. */
  isProcessed(range: BlockRange): Promise<boolean>;
  /**
   * Enters ranges that are committed now.
   *
   * @throws WarehouseError `conflict` when a range that starts at the same block is there
   */
  markProcessed(entries: readonly LedgerEntry[]): Promise<void>;
  /**
   * The block of each network to go on behind: the newest one whose hash is known.
   *
   * @param detectGaps stop before the first hole of the ledger, so that what is missing there comes again
   */
  resumePosition(detectGaps: boolean): Promise<readonly Watermark[]>;
  /**
   * The newest ranges of each network, at most `LEDGER_HORIZON`, oldest first.
   *
   * @param before only those that start before this block, and the first one behind them
   */
  tails(before?: number | null): Promise<LedgerTails>;
  /** The blocks of the window that no range covers, lowest first; the last gap of an open window is open, too. */
  gaps(network: string, window: BlockWindow): Promise<readonly BlockWindow[]>;
  /** What of the ledger an erasure concerns; null when nothing. Its rows are to go before {@link StateStore.invalidate}. */
  invalidSpan(erasure: Erasure): Promise<InvalidSpan | null>;
  /**
   * Forgets the blocks; a range that `from` cuts in two keeps those before it, with an unknown hash.
   *
   * @param cutRows how many rows of the cut range were erased
   */
  invalidate(erasure: Erasure, cutRows?: number): Promise<void>;
  /**
   * Merges neighbouring ranges that end before block `before` into one, so that the ledger stays short: what is covered
   * stays covered. Ranges that a reorg may still reach, or that are not folded yet, stay as they are.
   *
   * @param keep how many of the newest ranges to leave alone; at least `LEDGER_HORIZON` unless in a test
   * @returns how many rows the ledger has lost
   */
  cleanup(network: string, before: number, keep?: number): Promise<number>;
}

/** What every store says of a range that is committed a second time. */
export const committedTwice = ({ network, start }: BlockRange, cause?: unknown): WarehouseError =>
  new WarehouseError(
    'conflict',
    `the ledger has a range of ${network} that starts at block ${start} already`,
    {
      network,
      block: start,
      remedy: 'Nothing of it was committed. Start again: what is loaded is left out.',
    },
    cause,
  );
