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
 * is told of every reorg from there on. What an earlier run has left in the buffer with holes, or without such a hash, is replaced by it.
 *
 * Forks deeper than the buffer are found by hashes: each partition is known by those around it, the ledger takes no neighbours that do
 * not join, and before anything is loaded what is there is proved, or taken back as far as it has left the chain.
 */
import type { BlockSpan } from '../chain/partitions.ts';
import type { BlockRange } from '../chain/range.ts';
import type { ParallelConfig } from '../runtime/parallel-config.ts';
import { ledgerEnds, type LedgerEnds } from '../warehouse/ledger-edges.ts';
import type { FailedPartition } from './catch-up-crew.ts';
import { askNobody, createHashAsker } from './catch-up-hashes.ts';
import {
  fillHoles,
  holesOf,
  openLoader,
  retryOf,
  type CatchUp,
  type CatchUpTools,
} from './catch-up-holes.ts';
import { openPools } from './catch-up-loader.ts';
import { loadPartition } from './catch-up-partition.ts';
import { proveLoaded } from './catch-up-proof.ts';
import { LIVE_CONNECTIONS, shareConnections } from './connections.ts';
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

/** Blocks that may be missing at the head for the stream to go on by itself, where a partition has no fewer; a microbatch has up to so many. */
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
const withPools = <T>(
  parts: Omit<CatchUp, 'pools' | 'workersMax' | 'ask'> & Partial<Pick<CatchUp, 'ask'>>,
  kept: number,
  work: (run: CatchUp) => Promise<T>,
): Promise<T> => {
  const { options } = parts;
  const share = shareConnections(connectionsOf(options) - kept);
  const pools = openPools(options.pool, share);
  return work({ ask: askNobody, ...parts, pools, workersMax: share.workers });
};

const connectionsOf = ({ connections, pool }: IngestOptions): number => connections ?? pool.options.max;

const loadHistory = async (given: CatchUp, firstHead: BlockRange): Promise<CaughtUp> => {
  const { options, parallel, pools, network } = given;
  const { stream, window, signal } = options;
  for (let head = firstHead; ;) {
    options.onEvent({ kind: 'head', stream, network, block: head.end });
    const run = { ...given, ask: createHashAsker(options, network, head) };
    const began = performance.now();
    const before = await ledgerEnds(pools.beside, stream, network);
    const asked = window.from ?? before?.first ?? 0;
    const spanFrom = (from: number) => settledSpan(run, head, from);
    if (before !== null && isNear(run, before, spanFrom(asked)) && !(await isTorn(run, asked, before)))
      return GO_ON;
    const span = spanFrom(Math.min(asked, await proveLoaded(run, head)));
    const ends = await ledgerEnds(pools.beside, stream, network);
    if (signal.aborted) return { ...GO_ON, end: 'stopped' };
    if (ends !== null && isNear(run, ends, span) && !(await isTorn(run, span.to, ends)))
      return besideStream(run, { from: span.from, to: Math.min(span.to, ends.last) });
    const failed = await fillHoles(run, span);
    if (signal.aborted) return { end: 'stopped', failed, backfill: null };
    if (span.to === window.to) return { end: 'complete', failed, backfill: null };
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
    await replaceBuffer(run, span.to, span.to + parallel.reorg_buffer <= head.end + 1);
    return { end: 'go on', failed, backfill: failed.length === 0 ? null : backfillOf(run, span) };
  }
};

const GO_ON: CaughtUp = { end: 'go on', failed: [], backfill: null };

/** The blocks from `asked` on that a reorg reaches no more. */
const settledSpan = ({ options, parallel }: CatchUp, head: BlockRange, asked: number): BlockSpan => {
  const from = Math.max(asked, head.start);
  const settled = Math.max(from, head.end + 1 - parallel.reorg_buffer);
  return { from, to: Math.min(options.window.to ?? Infinity, settled) };
};

/** Whether a stream does better alone: it can go on behind a known block, and not much is missing. */
const isNear = ({ parallel }: CatchUp, { last, hash }: LedgerEnds, { from, to }: BlockSpan): boolean =>
  hash !== null &&
  last + 1 >= from &&
  last + Math.min(NEAR_BLOCKS, parallel.partition_blocks ?? NEAR_BLOCKS) >= to;

/**
 * Whether there are holes behind `from` that this run is to fill. In the newest blocks no worker does that: a fork that comes and goes
 * meanwhile would leave its blocks among those of the other. One answer takes the place of all.
 */
const isTorn = async (run: CatchUp, from: number, { last }: LedgerEnds): Promise<boolean> => {
  const to = Math.min(last, run.options.window.to ?? Infinity);
  return from < to && (await holesOf(run, { from, to })).length > 0;
};

/** The stream goes on at the head; the holes before that are filled first, or beside it when it never ends: with a last block it fills them itself. */
const besideStream = async (run: CatchUp, span: BlockSpan): Promise<CaughtUp> => {
  const backfill = run.options.follow && run.options.window.to === null ? backfillOf(run, span) : null;
  if (backfill !== null) return { ...GO_ON, backfill };
  const failed = await fillHoles(run, span);
  return { end: run.options.signal.aborted ? 'stopped' : 'go on', failed, backfill: null };
};

/** Null where there are not enough connections for both. */
const backfillOf = (run: CatchUp, span: BlockSpan): CaughtUp['backfill'] =>
  connectionsOf(run.options) < LIVE_CONNECTIONS + 2
    ? null
    : (options) => withPools({ ...run, options }, LIVE_CONNECTIONS, (later) => fillHoles(later, span));

/**
 * The newest blocks: one answer up to the head of that moment, in place of what is loaded of them with holes, or without a hash.
 *
 * @param isBehindSettled whether the block before them can fork no more. Where a run begins later, its parent may be another one by
 *   the time of the answer, and is better not known than wrong: nothing would ever join it.
 */
const replaceBuffer = async (run: CatchUp, settled: number, isBehindSettled: boolean): Promise<void> => {
  const { options, pools, network, only, ask } = run;
  const { stream, window } = options;
  const ends = await ledgerEnds(pools.beside, stream, network);
  const reaches = ends !== null && ends.last >= settled;
  // What is loaded behind `--to` is not erased without coming again: the answer then reaches as far as there are blocks.
  const isBehindTo = ends !== null && ends.last >= (window.to ?? Infinity);
  if (reaches && (ends.hash !== null || isBehindTo) && !(await isTorn(run, settled, ends))) return;
  const askParent = () => retryOf(options)(() => ask(settled), { from: settled, to: settled });
  const known = isBehindSettled ? { parent: await askParent() } : {};
  await loadPartition({
    ...options,
    span: { from: settled, to: isBehindTo ? null : window.to },
    network,
    ranges: true,
    only,
    known,
    askAgain: askParent,
    openPipeline: openLoader(run, 1),
    splitAt: null,
    // Blocks that come again are no reorg, whatever has become of them.
    replace: reaches ? { to: null, isReorg: false } : null,
  });
};
