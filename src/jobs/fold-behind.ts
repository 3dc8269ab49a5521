/** Folds behind a catch-up: in block order up to the first hole, while partitions behind it are still being loaded. */
import type { Pool } from '../db/query.ts';
import { foldStream } from './fold.ts';

/** A fold that follows. */
export interface FoldBehind {
  /** So many rows were committed: there may be more to fold. */
  note(rows: number): void;
  /** Waits for the fold in hand and stops. @throws WarehouseError why a fold failed */
  finish(): Promise<void>;
  /** Aborts when a fold has failed. */
  readonly failed: AbortSignal;
}

/** Changes of one transaction, about: commits of partitions wait for it, so less than a fold alone takes. */
const ROWS_MAX = 100_000;
/** Rows that are worth a fold; what is less than that is folded with what comes next, or by whoever goes on behind the catch-up. */
const ROWS_MIN = 20_000;

/** Follows a stream with one connection of `pool`. */
export const foldBehind = (pool: Pool, stream: string, signal: AbortSignal): FoldBehind => {
  const stop = new AbortController();
  const failure = new AbortController();
  let running: Promise<void> | null = null;
  let waiting = 0;
  const fold = async (): Promise<void> => {
    while (waiting >= ROWS_MIN && !stop.signal.aborted) {
      waiting = 0;
      await foldStream({
        pool,
        stream,
        signal: AbortSignal.any([signal, stop.signal]),
        rowsMax: ROWS_MAX,
      });
    }
  };
  return {
    failed: failure.signal,
    note: (rows) => {
      waiting += rows;
      running ??= fold()
        .catch((thrown: unknown) => failure.abort(thrown))
        .finally(() => (running = null));
    },
    finish: async () => {
      stop.abort();
      await running;
      failure.signal.throwIfAborted();
    },
  };
};
