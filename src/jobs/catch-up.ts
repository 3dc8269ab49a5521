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
 */
import type { BlockSpan } from '../chain/partitions.ts';
import type { BlockRange } from '../chain/range.ts';
import type { ParallelConfig } from '../runtime/parallel-config.ts';
import { hashBefore, ledgerEnds, type LedgerEnds } from '../warehouse/ledger-edges.ts';
import type { FailedPartition } from './catch-up-crew.ts';
import { fillHoles, holesOf, openLoader, type CatchUp, type CatchUpTools } from './catch-up-holes.ts';
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

/**
 * Catches up as far as that goes in parallel. Null where it does not: several networks, whose blocks have nothing in common, or a
 * server without block ranges and no span to cut.
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
    return withPools(options, parallel, tools, WHOLE_RESULT, 0, async (run) => {
      const failed = await fillHoles(run, { from, to });
      return { end: options.signal.aborted ? 'stopped' : 'complete', failed, backfill: null };
    });
  }
  const synced = await findSynced(options);
  const [head] = synced;
  if (head === undefined) return { end: 'nothing synced', failed: [], backfill: null };
  if (synced.length > 1) return null;
  return withPools(options, parallel, tools, head.network, 0, (run) => loadHistory(run, head));
};

/** Runs a part of the catch-up with its share of the connections, `kept` of which belong to somebody else. */
const withPools = async <T>(
  options: IngestOptions,
  parallel: ParallelConfig,
  tools: CatchUpTools,
  network: string,
  kept: number,
  work: (run: CatchUp) => Promise<T>,
): Promise<T> => {
  const share = shareConnections(connectionsOf(options) - kept);
  const pools = openPools(options.pool, share);
  try {
    return await work({ options, parallel, tools, pools, workersMax: share.workers, network });
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
    const ends = await ledgerEnds(pools.beside, stream, network);
    const from = Math.max(window.from ?? ends?.first ?? 0, head.start);
    const settled = Math.min(window.to ?? Infinity, Math.max(from, head.end + 1 - parallel.reorg_buffer));
    if (isNear(ends, from, settled)) return besideStream(run, { from, to: ends.last });
    await settleEdges(run, { from, to: settled });
    const failed = await fillHoles(run, { from, to: settled });
    if (signal.aborted) return { end: 'stopped', failed, backfill: null };
    if (settled === window.to) return { end: 'complete', failed, backfill: null };
    // The chain has grown meanwhile: what is far enough from its head now is loaded in parallel, too.
    const [now] = await findSynced(options);
    if (
      now !== undefined &&
      now.end - head.end > NEAR_BLOCKS + parallel.reorg_buffer &&
      failed.length === 0
    ) {
      head = now;
      continue;
    }
    await replaceBuffer(run, settled);
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
const besideStream = async (run: CatchUp, span: BlockSpan): Promise<CaughtUp> => {
  const { options } = run;
  const holes = await holesOf(run, span);
  if (holes.length === 0) return { end: 'go on', failed: [], backfill: null };
  await settleEdges(run, span);
  const backfill = options.follow ? backfillOf(run, span) : null;
  if (backfill !== null) return { end: 'go on', failed: [], backfill };
  const failed = await fillHoles(run, span);
  return { end: options.signal.aborted ? 'stopped' : 'go on', failed, backfill: null };
};

/** Null where there are not enough connections for both. */
const backfillOf = (
  { options: current, parallel, tools, network }: CatchUp,
  span: BlockSpan,
): CaughtUp['backfill'] =>
  connectionsOf(current) < LIVE_CONNECTIONS + 2
    ? null
    : (options) =>
        withPools(options, parallel, tools, network, LIVE_CONNECTIONS, (run) => fillHoles(run, span));

/**
 * Where a hole begins behind a block whose hash is known, only a stream can tell whether that block is still on the chain: it loads
 * the first block of the hole, after taking back what is not.
 */
const settleEdges = async (run: CatchUp, span: BlockSpan): Promise<void> => {
  const { options, pools, network } = run;
  for (const { from } of await holesOf(run, span)) {
    if (options.signal.aborted) return;
    if ((await hashBefore(pools.beside, options.stream, network, from)) === null) continue;
    const onEvent: IngestOptions['onEvent'] = (event) => {
      if (event.kind !== 'head') options.onEvent(event);
    };
    const step = { ...options, pool: pools.beside, follow: false, window: { from, to: from + 1 }, onEvent };
    await loadBlocks(step, openLoader(run, 1));
  }
};

/** The newest blocks: one answer up to the head of that moment, in place of what is loaded of them without a hash. */
const replaceBuffer = async (run: CatchUp, settled: number): Promise<void> => {
  const { options, pools, network } = run;
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
    openPipeline: openLoader(silent, 1),
    splitAt: null,
    replace: reaches,
  });
};
