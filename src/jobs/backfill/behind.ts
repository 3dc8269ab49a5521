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

/** How often is looked whether there is room again, besides each time that a week is attached here. */
const LOOK_MS = 1000;

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
    // At once: what is new from here on begins another run.
    running = null;
  };
  return {
    kick: () => {
      news = true;
      running ??= run();
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
  /** Weeks that may be built, oldest first; none while the oldest of all is still being loaded, perhaps by another stream. */
  const look = async (pool: Pool): Promise<readonly WeekApart[]> => {
    const weeks = await readWeeksApart(pool, stream);
    const ready = over || weeks[0]?.complete === true ? weeks.filter(({ complete }) => complete || over) : [];
    waiting = ready.length;
    step();
    return ready;
  };
  const folder = createLane(
    guarded(async () => {
      if (fold) await foldStream({ pool: folding, stream, signal: stopped, rowsMax: FOLD_ROWS });
      for (;;) {
        const [oldest] = await look(folding);
        if (stopped.aborted || oldest?.state !== 'keyed') return;
        const attached = await attachWeek(folding, helping, oldest.week, fold, () => {
          alone = true;
          keyer.kick();
        });
        alone = false;
        keyer.kick();
        // Another run has been quicker.
        if (attached === null) continue;
        onAttached(attached);
        if (fold) await foldStream({ pool: folding, stream, signal: stopped, rowsMax: FOLD_ROWS });
      }
    }),
  );
  const keyer = createLane(
    guarded(async (): Promise<void> => {
      const ready = await look(keying);
      folder.kick();
      const keyed = ready.filter(({ state }) => state === 'keyed').length;
      const next = ready.find(({ state }) => state === 'building');
      if (stopped.aborted || next === undefined) return;
      if (keyed >= WEEKS_KEYED_MAX + (alone ? 1 : 0) && next !== ready[0]) return;
      await keyWeek(keying, next, 1);
      keyer.kick();
      folder.kick();
    }),
  );
  stopped.addEventListener('abort', step, { once: true });
  return {
    failed: failure.signal,
    note: () => keyer.kick(),
    room: async () => {
      while (waiting >= WEEKS_WAITING_MAX && !stopped.aborted) {
        // They may be attached by another run, which says nothing here.
        const again = setTimeout(() => keyer.kick(), LOOK_MS);
        await freed.promise;
        clearTimeout(again);
      }
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
