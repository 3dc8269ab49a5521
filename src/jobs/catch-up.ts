/**
 * Loads history in parallel, partition by partition, up to where reorgs still happen; hands over to the live stream there.
 *
 * ```
 *   from                    settled = head − reorg_buffer            head
 *    ├──── partitions ────────────┤├── one answer, replaces ──────────┤──── live stream ───►
 * ```
 *
 * No partition reaches into the newest `reorg_buffer` blocks, so none can hold blocks of a fork that is given up meanwhile. Those
 * are loaded last and by one query, of one fork therefore, whose last hash the server says: the live stream goes on behind it, and
 * is told of every reorg from there on. What an earlier run has left in the buffer without such a hash is erased with it.
 *
 * A fork deeper than the buffer is noticed by the hash of the block before it: the last partition ends in what that was at first, the
 * buffer begins behind what it is by then, and the ledger takes no neighbours that do not join. Later it is one more block to go back to.
 */
import type { BlockSpan } from '../chain/partitions.ts';
import type { BlockRange } from '../chain/range.ts';
import type { BlockWindow } from '../chain/window.ts';
import type { ParallelConfig } from '../runtime/parallel-config.ts';
import { hashBefore, ledgerEnds, type LedgerEnds } from '../warehouse/ledger-edges.ts';
import type { FailedPartition } from './catch-up-crew.ts';
import {
  askParent,
  fillHoles,
  holesOf,
  openLoader,
  type CatchUp,
  type CatchUpTools,
} from './catch-up-holes.ts';
import { openPools } from './catch-up-loader.ts';
import { loadPartition } from './catch-up-partition.ts';
import { LIVE_CONNECTIONS, shareConnections } from './connections.ts';
import { loadBlocks } from './load-blocks.ts';
import { WHOLE_RESULT } from './load-whole.ts';
import type { IngestOptions } from './run.ts';
import { findSynced } from './synced.ts';

/** Where a catch-up has come to. */
export interface CaughtUp {
  /** Whether the stream goes on, behind what is loaded; or nothing is left for it, or it was stopped. */
  readonly end: 'go on' | 'complete' | 'stopped' | 'nothing synced';
  /** Partitions that failed and were gone past. */
  readonly failed: readonly FailedPartition[];
  /** Loads the holes that are left beside the live stream; null when there are none. */
  readonly backfill: ((options: IngestOptions) => Promise<readonly FailedPartition[]>) | null;
}

/** Blocks that may be missing at the head for the stream to go on by itself; a microbatch has up to so many. */
const NEAR_BLOCKS = 1000;

/** In so little time no chain grows so far that workers are worth it; what it has grown comes with the newest blocks. */
const QUICK_MS = 5000;

/** Times that several networks are gone through: while one is loaded the heads of the others go on. */
const ROUNDS_MAX = 5;

/**
 * Catches up as far as that goes in parallel, one network after the other. Null where it does not: several networks and no column
 * that tells their rows apart, or a server without block ranges and no span to cut.
 *
 * @throws WarehouseError the first failure of a partition, where `stop_on_error` says so or none of the others could do better
 */
export const catchUp = async (
  options: IngestOptions,
  parallel: ParallelConfig,
  tools: CatchUpTools,
): Promise<CaughtUp | null> => {
  if (options.serverKind !== 'amp') {
    const { from, to } = options.window;
    if (from === null || to === null || options.follow) return null;
    return withPools({ options, parallel, tools, network: WHOLE_RESULT, only: null }, 0, async (run) => {
      const failed = await fillHoles(run, { from, to });
      return { end: options.signal.aborted ? 'stopped' : 'complete', failed, backfill: null };
    });
  }
  const synced = await findSynced(options);
  const [head] = synced;
  if (head === undefined) return { end: 'nothing synced', failed: [], backfill: null };
  if (synced.length === 1) {
    const { network } = head;
    return withPools({ options, parallel, tools, network, only: null }, 0, (run) => loadHistory(run, head));
  }
  const { network_column: column } = options.config;
  // A span of blocks is refused by whoever goes on: it cannot mean one thing.
  if (column === undefined || options.window.from !== null || options.window.to !== null) return null;
  return loadNetworks({ options, parallel, tools }, column, synced);
};

/** One network after the other, each with all the workers. */
const loadNetworks = async (
  given: Pick<CatchUp, 'options' | 'parallel' | 'tools'>,
  column: string,
  synced: readonly BlockRange[],
): Promise<CaughtUp> => {
  const { options } = given;
  let commits = 0;
  const committed: CatchUpTools['committed'] = (result) => {
    commits += 1;
    given.tools.committed(result);
  };
  const tools = { ...given.tools, committed };
  let last: readonly CaughtUp[] = [];
  for (let round = 1, heads = synced; round <= ROUNDS_MAX && heads.length > 0; round++) {
    [last, commits] = [[], 0];
    for (const head of heads) {
      const { network } = head;
      const parts = { ...given, tools, network, only: { column, network } };
      const caught = await withPools(parts, 0, (run) => loadHistory(run, head));
      if (caught.end !== 'go on') return caught;
      last = [...last, caught];
    }
    if (commits === 0 || last.some(({ failed }) => failed.length > 0)) break;
    heads = await findSynced(options);
  }
  const backfills = last.flatMap(({ backfill }) => (backfill === null ? [] : [backfill]));
  return {
    end: 'go on',
    failed: last.flatMap(({ failed }) => failed),
    backfill: backfills.length === 0 ? null : oneByOne(backfills),
  };
};

type Backfill = NonNullable<CaughtUp['backfill']>;

const oneByOne =
  (backfills: readonly Backfill[]): Backfill =>
  async (options) => {
    const failed: FailedPartition[] = [];
    for (const backfill of backfills) failed.push(...(await backfill(options)));
    return failed;
  };

/** Runs a part of the catch-up with its share of the connections, `kept` of which belong to somebody else. */
const withPools = async <T>(
  parts: Omit<CatchUp, 'pools' | 'workersMax'>,
  kept: number,
  work: (run: CatchUp) => Promise<T>,
): Promise<T> => {
  const { options } = parts;
  const share = shareConnections(connectionsOf(options) - kept);
  const pools = openPools(options.pool, share);
  try {
    return await work({ ...parts, pools, workersMax: share.workers });
  } finally {
    pools.forget();
  }
};

const connectionsOf = ({ connections, pool }: IngestOptions): number => connections ?? pool.options.max;

const loadHistory = async (run: CatchUp, firstHead: BlockRange): Promise<CaughtUp> => {
  const { options, parallel, pools, network } = run;
  const { stream, window, signal } = options;
  for (let head = firstHead; ;) {
    options.onEvent({ kind: 'head', stream, network, block: head.end });
    const began = performance.now();
    const ends = await ledgerEnds(pools.beside, stream, network);
    const from = Math.max(window.from ?? ends?.first ?? 0, head.start);
    const settled = Math.min(window.to ?? Infinity, Math.max(from, head.end + 1 - parallel.reorg_buffer));
    if (isNear(ends, from, settled)) return besideStream(run, { from, to: ends.last }, head);
    if (!(await settleEdges(run, await edgesOf(run, { from, to: settled }), head)))
      return { end: signal.aborted ? 'stopped' : 'go on', failed: [], backfill: null };
    const edge = settled <= head.end ? askParent(run, settled) : null;
    const failed = await fillHoles(run, { from, to: settled }, edge);
    if (signal.aborted) return { end: 'stopped', failed, backfill: null };
    if (settled === window.to) return { end: 'complete', failed, backfill: null };
    // The chain has grown meanwhile: what is far enough from its head now is loaded in parallel, too.
    const isQuick = performance.now() - began < QUICK_MS;
    const now = isQuick ? undefined : (await findSynced(options)).find((one) => one.network === network);
    if (
      now !== undefined &&
      now.end - head.end > NEAR_BLOCKS + parallel.reorg_buffer &&
      failed.length === 0
    ) {
      head = now;
      continue;
    }
    await replaceBuffer(run, settled, settled + parallel.reorg_buffer <= head.end + 1);
    return {
      end: 'go on',
      failed,
      backfill: failed.length === 0 ? null : backfillOf(run, { from, to: settled }),
    };
  }
};

/** Whether a stream does better alone: it can go on behind a known block, and not much is missing. */
const isNear = (ends: LedgerEnds | null, from: number, settled: number): ends is LedgerEnds =>
  ends !== null && ends.hash !== null && ends.last + 1 >= from && ends.last + NEAR_BLOCKS >= settled;

/** The stream goes on at the head; the holes before that are filled first, or beside it when it never ends. */
const besideStream = async (run: CatchUp, span: BlockSpan, head: BlockRange): Promise<CaughtUp> => {
  const { options } = run;
  const edges = await edgesOf(run, span);
  if (edges.length === 0) return { end: 'go on', failed: [], backfill: null };
  // What is loaded behind the holes may have left the chain as well: what joins them must be what is on it. (Of several networks the
  // holes would then wait for the next run.) It goes on to the head, for only the hash of a block tells that it has left the chain.
  const { to } = options.window;
  const newest = run.only === null && (to ?? Infinity) > span.to + 1 ? [{ from: span.to + 1, to }] : [];
  if (!(await settleEdges(run, [...edges, ...newest], head)))
    return { end: options.signal.aborted ? 'stopped' : 'go on', failed: [], backfill: null };
  const backfill = options.follow ? backfillOf(run, span) : null;
  if (backfill !== null) return { end: 'go on', failed: [], backfill };
  const failed = await fillHoles(run, span);
  return { end: options.signal.aborted ? 'stopped' : 'go on', failed, backfill: null };
};

/** Null where there are not enough connections for both. */
const backfillOf = (run: CatchUp, span: BlockSpan): CaughtUp['backfill'] =>
  connectionsOf(run.options) < LIVE_CONNECTIONS + 2
    ? null
    : (options) => withPools({ ...run, options }, LIVE_CONNECTIONS, (later) => fillHoles(later, span));

/** The first blocks of the holes of a span. */
const edgesOf = async (run: CatchUp, span: BlockSpan): Promise<readonly BlockSpan[]> =>
  (await holesOf(run, span)).map(({ from }) => ({ from, to: from + 1 }));

/**
 * Where a hole begins behind a block whose hash is known, only a stream can tell whether that block is still on the chain: it loads
 * the window at the edge, after taking back what is not. Of several networks none can be loaded alone: where the server's hash of
 * such a block is not the one that is known, the stream of all of them comes first.
 *
 * @returns whether the holes may be filled now
 */
const settleEdges = async (
  run: CatchUp,
  edges: readonly BlockWindow[],
  head: BlockRange,
): Promise<boolean> => {
  const { options, pools, network, only } = run;
  for (const window of edges) {
    const from = window.from ?? 0;
    if (options.signal.aborted) return false;
    const known = await hashBefore(pools.beside, options.stream, network, from);
    if (known === null) continue;
    if (only !== null) {
      const now = from > head.end ? head.hash : await askParent(run, from);
      if (now !== known) return false;
      continue;
    }
    const onEvent: IngestOptions['onEvent'] = (event) => {
      if (event.kind !== 'head') options.onEvent(event);
    };
    const step = { ...options, pool: pools.beside, follow: false, window, onEvent };
    await loadBlocks(step, openLoader(run, 1));
  }
  return true;
};

/**
 * The newest blocks: one answer up to the head of that moment, in place of what is loaded of them without a hash.
 *
 * @param isBehindSettled whether the block before them can fork no more. Where a run begins later, its parent may be another one by
 *   the time of the answer, and is better not known than wrong: nothing would ever join it.
 */
const replaceBuffer = async (run: CatchUp, settled: number, isBehindSettled: boolean): Promise<void> => {
  const { options, pools, network, only } = run;
  const { stream, window } = options;
  const ends = await ledgerEnds(pools.beside, stream, network);
  const reaches = ends !== null && ends.last >= settled;
  if (reaches && ends.hash !== null) {
    const holes = await holesOf(run, { from: settled, to: ends.last });
    if (holes.length === 0) return;
  }
  // Blocks that come again are no reorg, whatever has become of them.
  const silent = { ...run, tools: { ...run.tools, reorged: () => undefined } };
  await loadPartition({
    ...options,
    span: { from: settled, to: window.to },
    network,
    ranges: true,
    only,
    ...(isBehindSettled ? { known: askParent(run, settled).then((parent) => ({ parent })) } : {}),
    openPipeline: openLoader(silent, 1),
    splitAt: null,
    replace: reaches,
  });
};
