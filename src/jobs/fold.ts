/** Folds changes that were loaded without being folded: in block order up to the first gap, one worker per hash partition. */
import type { Pool } from '../db/query.ts';
import { FOLD_PARTITIONS, foldNext, pendingSources, type Folded } from '../warehouse/balances.ts';

/** How to fold what waits. */
export interface FoldOptions {
  readonly pool: Pool;
  readonly stream: string;
  /** Stops after the transactions in hand. */
  readonly signal: AbortSignal;
  /** Go on behind a gap of the ledger; what fills it later is folded with its commit. Default: stop there. */
  readonly acrossGaps?: boolean;
  /** Changes of one transaction, about; default 500,000. */
  readonly rowsMax?: number;
  readonly onFolded?: (sourceId: number, hashPartition: number, folded: Folded) => void;
}

/** What was folded, counted over the workers: a change is folded by the worker of its account. */
export interface FoldResult {
  readonly stream: string;
  readonly sources: number;
  /** Transactions. */
  readonly folds: number;
}

const DEFAULT_ROWS_MAX = 500_000;

/**
 * Folds all that waits for a stream. Loading may go on meanwhile; what it adds is folded too, as long as it keeps coming
 * in time. Several processes may fold at once: they take turns.
 */
export const foldStream = async ({
  pool,
  stream,
  signal,
  acrossGaps = false,
  rowsMax = DEFAULT_ROWS_MAX,
  onFolded,
}: FoldOptions): Promise<FoldResult> => {
  const sources = await pendingSources(pool, stream);
  let folds = 0;
  const work = async (sourceId: number, hashPartition: number): Promise<void> => {
    while (!signal.aborted) {
      const folded = await foldNext(pool, sourceId, hashPartition, rowsMax, acrossGaps);
      if (folded === null) return;
      folds++;
      onFolded?.(sourceId, hashPartition, folded);
    }
  };
  for (const sourceId of sources) {
    await Promise.all(
      Array.from({ length: FOLD_PARTITIONS }, (_unused, hashPartition) => work(sourceId, hashPartition)),
    );
  }
  return { stream, sources: sources.length, folds };
};
