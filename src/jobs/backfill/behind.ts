/**
 * Builds weeks behind a catch-up, in two lanes: one gives complete weeks their keys, the other folds and attaches them, oldest
 * first.
 *
 * ```
 *   workers ──COPY──► building ──keys──► keyed ──fold──► attached
 * ```
 */
import type { Pool } from '../../db/query.ts';
import {
  attachWeek,
  keyWeek,
  readWeeksApart,
  type AttachedWeek,
  type WeekApart,
} from '../../warehouse/backfill/weeks.ts';
import type { FoldBehind } from '../fold-behind.ts';
import { foldStream } from '../fold.ts';
import type { IngestOptions } from '../run.ts';

/** Complete weeks that may wait for their keys and their fold: beyond that no new partition is begun, which bounds the disk that nobody can read yet. */
const WEEKS_WAITING_MAX = 4;

/** Changes of one transaction of the fold, about. */
const FOLD_ROWS = 100_000;

/** What it builds with. */
export interface BuildOptions {
  /** Lends a connection for keys, and one for the fold; they may be the same. */
  readonly keying: Pool;
  readonly folding: Pool;
  readonly stream: string;
  /** Whether balances are folded too; if not, they wait for `pgstrata fold`. */
  readonly fold: boolean;
  readonly signal: AbortSignal;
  readonly onAttached: (week: AttachedWeek) => void;
}

/** A builder that follows. */
export interface BuildBehind extends FoldBehind {
  /** Waits while too many complete weeks are waiting. */
  room(): Promise<void>;
}

/** Weeks of a list that the ledger has passed. */
const completeOf = (weeks: readonly WeekApart[]): WeekApart[] => weeks.filter(({ complete }) => complete);

/** One lane: runs `work` again as long as there was news meanwhile. */
const createLane = (work: () => Promise<void>): { kick(): void; idle(): Promise<void> } => {
  let news = false;
  let running: Promise<void> | null = null;
  const run = async (): Promise<void> => {
    while (news) {
      news = false;
      await work();
    }
  };
  return {
    kick: () => {
      news = true;
      running ??= run().finally(() => (running = null));
    },
    idle: async () => {
      while (running !== null) await running;
    },
  };
};

/** Follows a stream. */
export const buildBehind = (options: BuildOptions): BuildBehind => {
  const { keying, folding, stream, fold, signal, onAttached } = options;
  const stop = new AbortController();
  const failure = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal, failure.signal]);
  let waiting = 0;
  let freed = Promise.withResolvers<void>();
  const step = (): void => {
    freed.resolve();
    freed = Promise.withResolvers<void>();
  };
  const guarded = (work: () => Promise<void>) => async (): Promise<void> => {
    if (stopped.aborted) return;
    await work().catch((thrown: unknown) => {
      failure.abort(thrown);
      step();
    });
  };
  const folder = createLane(
    guarded(async () => {
      if (fold) await foldStream({ pool: folding, stream, signal: stopped, rowsMax: FOLD_ROWS });
      for (;;) {
        const [oldest] = await readWeeksApart(folding, stream);
        if (stopped.aborted || oldest === undefined || !oldest.complete || oldest.state !== 'keyed') return;
        const attached = await attachWeek(folding, oldest.week, fold);
        if (attached === null) return;
        waiting -= 1;
        onAttached(attached);
        step();
        if (fold) await foldStream({ pool: folding, stream, signal: stopped, rowsMax: FOLD_ROWS });
      }
    }),
  );
  const keyer = createLane(
    guarded(async () => {
      const complete = completeOf(await readWeeksApart(keying, stream));
      waiting = complete.length;
      step();
      folder.kick();
      for (const week of complete) {
        if (stopped.aborted) return;
        if (week.state !== 'building') continue;
        await keyWeek(keying, week, 1);
        folder.kick();
      }
    }),
  );
  stopped.addEventListener('abort', step, { once: true });
  return {
    failed: failure.signal,
    note: () => keyer.kick(),
    room: async () => {
      while (waiting >= WEEKS_WAITING_MAX && !stopped.aborted) await freed.promise;
    },
    finish: async () => {
      stop.abort();
      await keyer.idle();
      await folder.idle();
      failure.signal.throwIfAborted();
    },
  };
};

/**
 * Finishes all weeks that stand beside the set and hold rows of the stream, complete or not: what comes for them later is loaded
 * like any late row. For the end of a catch-up, and for what an earlier run has left.
 */
export const finishWeeks = async ({
  pool,
  stream,
  fold,
  signal,
  onAttached,
}: Pick<BuildOptions, 'stream' | 'fold' | 'signal' | 'onAttached'> & {
  readonly pool: Pool;
}): Promise<void> => {
  for (const week of await readWeeksApart(pool, stream)) {
    if (signal.aborted) return;
    if (week.state === 'building') await keyWeek(pool, week, KEY_WORKERS);
    if (fold) await foldStream({ pool, stream, signal });
    const attached = await attachWeek(pool, week.week, fold);
    if (attached !== null) onAttached(attached);
  }
};

/** Connections that share the keys of one week at the end, when nobody loads. */
const KEY_WORKERS = 2;

/** Tells of each week as an event of the stream. */
export const attachedEvent =
  ({ stream, onEvent }: Pick<IngestOptions, 'stream' | 'onEvent'>): BuildOptions['onAttached'] =>
  (attached) =>
    onEvent({ kind: 'week', stream, attached });
