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

/**
 * Weeks that may have their keys, with the one that is being folded. More are no gain: what of a fold is the work of one connection
 * alone is best done beside keys that are still to be built, so one more is begun by then.
 */
const WEEKS_KEYED_MAX = 2;

/** Changes of one transaction of the fold, about. */
const FOLD_ROWS = 100_000;

/** What it builds with. */
export interface BuildOptions {
  /** Lends a connection for keys, and one for the fold; they may be the same. */
  readonly keying: Pool;
  readonly folding: Pool;
  /** Lends another connection to the fold of a week, where there is one: not that of the fold. */
  readonly helping: Pool | null;
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
  /** Builds all weeks that stand beside the set, complete or not, once nothing more is loaded; what fails shows in `finish`. */
  drain(): Promise<void>;
}

/** One lane: runs `work` again as long as there was news meanwhile. */
const createLane = (work: () => Promise<void>): { kick(): void; idle(): Promise<void>; busy(): boolean } => {
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
    busy: () => running !== null,
  };
};

/** Follows a stream. */
export const buildBehind = (options: BuildOptions): BuildBehind => {
  const { keying, folding, helping, stream, fold, signal, onAttached } = options;
  const stop = new AbortController();
  const failure = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal, failure.signal]);
  let waiting = 0;
  let over = false;
  let alone = false;
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
        if (stopped.aborted || oldest === undefined || !(oldest.complete || over) || oldest.state !== 'keyed')
          return;
        const attached = await attachWeek(folding, helping, oldest.week, fold, () => {
          alone = true;
          keyer.kick();
        });
        alone = false;
        if (attached === null) return;
        waiting -= 1;
        onAttached(attached);
        step();
        keyer.kick();
        if (fold) await foldStream({ pool: folding, stream, signal: stopped, rowsMax: FOLD_ROWS });
      }
    }),
  );
  const keyer = createLane(
    guarded(async (): Promise<void> => {
      const complete = (await readWeeksApart(keying, stream)).filter((week) => week.complete || over);
      waiting = complete.length;
      step();
      folder.kick();
      const keyed = complete.filter(({ state }) => state === 'keyed').length;
      const [oldest] = complete.filter(({ state }) => state === 'building');
      if (stopped.aborted || oldest === undefined || (keyed >= WEEKS_KEYED_MAX + (alone ? 1 : 0) && oldest !== complete[0]))
        return;
      await keyWeek(keying, oldest, 1);
      keyer.kick();
      folder.kick();
    }),
  );
  stopped.addEventListener('abort', step, { once: true });
  return {
    failed: failure.signal,
    note: () => keyer.kick(),
    room: async () => {
      while (waiting >= WEEKS_WAITING_MAX && !stopped.aborted) await freed.promise;
    },
    drain: async () => {
      over = true;
      keyer.kick();
      while (keyer.busy() || folder.busy()) {
        await keyer.idle();
        await folder.idle();
      }
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
  helping = null,
  stream,
  fold,
  signal,
  onAttached,
}: Pick<BuildOptions, 'stream' | 'fold' | 'signal' | 'onAttached'> & {
  readonly pool: Pool;
  readonly helping?: Pool | null;
}): Promise<void> => {
  for (const week of await readWeeksApart(pool, stream)) {
    if (signal.aborted) return;
    if (week.state === 'building') await keyWeek(pool, week, KEY_WORKERS);
    if (fold) await foldStream({ pool, stream, signal });
    const attached = await attachWeek(pool, helping, week.week, fold);
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
