/**
 * Between a stream and its writer: gathers microbatches while the writer is busy, commits at once when it is idle.
 *
 * ```
 *   append, watermark ──► gathering ──seal──► waiting ──► writing ──► committed
 * ```
 *
 * Live, each microbatch is its own commit; in catch-up the writer is always busy, so commits grow by themselves up to
 * `commitRows`. One group at most is in each place, and none has many more than the dataset's `partRows`: that bounds memory
 * and gives back-pressure.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RecordBatch } from 'apache-arrow';
import type { BlockRange } from '../chain/range.ts';
import type { BatchWriter, Committed } from '../warehouse/batches.ts';
import { addCounts, NOTHING, type Dataset, type LoadBuffer, type RangePlace } from '../warehouse/datasets.ts';
import type { LedgerEntry, RangeCount } from '../warehouse/state/store.ts';

/** What a stream hands over, in its order. */
export interface Pipeline {
  /** Aborts as soon as a write has failed, so that whoever waits for the server stops waiting. */
  readonly failed: AbortSignal;
  /** A reorg of the blocks from the range's first one up to `to` (inclusive; null is all): erase them first, then go on. */
  reorg(range: BlockRange, to?: number | null): Promise<void>;
  /** The same for blocks that only come again. */
  reread(range: BlockRange, to: number | null): Promise<void>;
  /** Rows of the microbatch that covers `ranges`; those of `replayed` networks are loaded already. */
  append(batch: RecordBatch, ranges: readonly BlockRange[], replayed?: ReadonlySet<string>): Promise<void>;
  /** The microbatch is whole. */
  watermark(ranges: readonly BlockRange[]): Promise<void>;
  /** Commits what is whole, forgets the rest. */
  finish(): Promise<void>;
  /** Forgets everything that is not committed. */
  abandon(): Promise<void>;
}

/** Told after each commit and each reorg. */
export interface PipelineEvents {
  committed(result: Committed): void;
  reorged(range: BlockRange, rowsErased: number): void;
}

/** Blocks to erase, and whether a reorg is why. */
interface Erasing {
  readonly range: BlockRange;
  readonly to: number | null;
  readonly isReorg: boolean;
}

/** Rows on their way to one write. */
interface Group {
  readonly buffer: LoadBuffer;
  readonly erasures: readonly Erasing[];
  /** Microbatches that are whole with the rows of this group; null for a part, which is committed with a later group. */
  entries: LedgerEntry[] | null;
}

/** Rows worth a write of their own when the writer is idle. */
const IDLE_WRITE_ROWS = 16_384;

/** Ranges of one commit at most, so that a long run of empty blocks is committed now and then. */
const MAX_GROUP_RANGES = 1000;

/** A pipeline into `writer`. */
export const createPipeline = (
  writer: BatchWriter,
  dataset: Dataset,
  commitRows: number,
  events: PipelineEvents,
): Pipeline => {
  const partRows = Math.min(commitRows, dataset.partRows);
  const failure = new AbortController();
  const spares: LoadBuffer[] = [];
  const newBuffer = (): LoadBuffer => spares.pop() ?? dataset.createBuffer();
  /** The group that is being gathered, its erasures and whole microbatches, and whether rows behind those are in it. */
  let buffer = newBuffer();
  let erasures: Erasing[] = [];
  let entries: LedgerEntry[] = [];
  let partial = false;
  let rowsSinceCommit = 0;
  let waiting: Group | null = null;
  let writing: Promise<void> | null = null;
  let closed = false;
  /** The microbatch at hand. */
  let places: readonly RangePlace[] = [];
  let counts = new Map<string, RangeCount>();

  const write = async ({ buffer: rows, erasures: first, entries: whole }: Group): Promise<void> => {
    for (const { range, to, isReorg } of first) {
      const erased = await writer.erase({ network: range.network, from: range.start, to });
      if (isReorg) events.reorged(range, erased);
    }
    if (rows.rows > 0 || whole === null || whole.some((entry) => entry.count.quarantined > 0))
      await writer.write(rows);
    if (whole !== null) events.committed(await writer.commit(whole));
  };
  /** Gives the writer what waits; when nothing does, what has become whole meanwhile. */
  const kick = (): void => {
    if (writing !== null || closed || failure.signal.aborted) return;
    if (waiting === null && entries.length > 0 && !partial) waiting = take(true);
    const group = waiting;
    if (group === null) return;
    waiting = null;
    writing = write(group)
      .catch((thrown: unknown) => failure.abort(thrown))
      .finally(() => {
        group.buffer.clear();
        spares.push(group.buffer);
        writing = null;
        kick();
      });
  };
  const take = (whole: boolean): Group => {
    const group = { buffer, erasures, entries: whole ? entries : null };
    buffer = newBuffer();
    erasures = [];
    if (whole) {
      entries = [];
      rowsSinceCommit = 0;
    }
    return group;
  };
  /** Ends the gathering of this group; waits while another one waits. */
  const seal = async (whole: boolean): Promise<void> => {
    buffer.prepare();
    while (waiting !== null && writing !== null) await writing;
    failure.signal.throwIfAborted();
    waiting = take(whole);
    kick();
  };
  const idle = async (): Promise<void> => {
    while (writing !== null) await writing;
    failure.signal.throwIfAborted();
  };

  const eraseFirst = async (erasing: Erasing): Promise<void> => {
    // What was gathered belongs to the old fork or lies before the new one: write it first, then erase.
    kick();
    await idle();
    erasures.push(erasing);
  };

  return {
    failed: failure.signal,
    reorg: (range, to = null) => eraseFirst({ range, to, isReorg: true }),
    reread: (range, to) => eraseFirst({ range, to, isReorg: false }),
    append: async (batch, ranges, replayed = new Set()) => {
      failure.signal.throwIfAborted();
      kick();
      if (!samePlaces(places, ranges)) {
        places = await writer.place(ranges, replayed);
        counts = new Map();
      }
      const before = buffer.rows;
      // Before the buffer is touched: one that fails half-way must never be committed with what is whole in it.
      partial = true;
      for (const [network, count] of buffer.append(batch, places)) {
        counts.set(network, addCounts(counts.get(network) ?? NOTHING, count));
      }
      rowsSinceCommit += buffer.rows - before;
      // What is larger than a part is written in parts, and a part is worth writing sooner while the writer has
      // nothing to do; the transaction stays open until its watermark.
      const worthIt = writing === null ? Math.min(partRows, IDLE_WRITE_ROWS) : partRows;
      if (buffer.rows >= worthIt) await seal(false);
      // Messages that were read ahead come without a wait between them: the writer's connection must get its turn, too.
      await nextTurn();
    },
    watermark: async (ranges) => {
      failure.signal.throwIfAborted();
      entries.push(...ranges.map((range) => ({ range, count: counts.get(range.network) ?? NOTHING })));
      partial = false;
      places = [];
      counts = new Map();
      if (rowsSinceCommit >= commitRows || entries.length >= MAX_GROUP_RANGES) await seal(true);
      else kick();
    },
    finish: async () => {
      kick();
      await idle();
      await writer.abandon();
    },
    abandon: async () => {
      closed = true;
      while (writing !== null) await writing;
      await writer.abandon();
    },
  };
};

const samePlaces = (places: readonly RangePlace[], ranges: readonly BlockRange[]): boolean =>
  places.length === ranges.length &&
  places.every(({ range }, index) => {
    const other = ranges[index];
    return (
      other !== undefined &&
      range.network === other.network &&
      range.start === other.start &&
      range.end === other.end
    );
  });
