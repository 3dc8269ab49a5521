/** Fills the holes of a span: cuts them into partitions, has a crew load them, and folds behind. */
import { planPartitions, type BlockSpan, type PartitionRule } from '../chain/partitions.ts';
import type { NetworkFilter } from '../flight/block-window.ts';
import type { ParallelConfig } from '../runtime/parallel-config.ts';
import { withDetail, WarehouseError } from '../runtime/errors.ts';
import type { Committed } from '../warehouse/batches.ts';
import type { Dataset } from '../warehouse/datasets.ts';
import { ledgerEnds } from '../warehouse/ledger-edges.ts';
import { postgresStore } from '../warehouse/state/postgres.ts';
import type { StreamClaim } from '../warehouse/stream-state.ts';
import { attachedEvent, buildBehind, finishWeeks, type BuildBehind } from './backfill/behind.ts';
import { runCrew, type FailedPartition, type PartitionOutcome } from './catch-up-crew.ts';
import { createLoader, createTurns, type CatchUpPools } from './catch-up-loader.ts';
import { workersAsked } from './connections.ts';
import { describeSpan, loadPartition } from './catch-up-partition.ts';
import { crewReporter } from './catch-up-report.ts';
import { foldBehind } from './fold-behind.ts';
import type { PipelineEvents } from './pipeline.ts';
import type { OpenPipeline } from './read-into.ts';
import type { IngestOptions, PartitionRetry } from './run.ts';
import { hashesAround, type HashAsker } from './catch-up-hashes.ts';

/** What a catch-up needs of the run it is part of. */
export interface CatchUpTools {
  readonly claim: StreamClaim;
  /** A new dataset of the stream, on the pool of these options; its balances are left to be folded. */
  readonly createDataset: (options: IngestOptions) => Dataset;
  readonly committed: (result: Committed) => void;
  readonly reorged: PipelineEvents['reorged'];
}

/** All that the steps of a catch-up share. */
export interface CatchUp {
  readonly options: IngestOptions;
  readonly parallel: ParallelConfig;
  readonly tools: CatchUpTools;
  readonly pools: CatchUpPools;
  /** Most workers there are connections for. */
  readonly workersMax: number;
  readonly network: string;
  /** What tells its rows from those of the other networks; null where there is only one. */
  readonly only: NetworkFilter | null;
  readonly ask: HashAsker;
}

/** Rows that all workers together write at once, and what one of them does at least: memory holds some three times as many. */
const PART_ROWS = 200_000;
const PART_ROWS_MIN = 16_384;
/**
 * Most blocks of the partition a ledger begins with, which is loaded before all others: it says where the stream begins, so that a
 * run broken off can never leave blocks before the lowest one that is loaded, and how many rows there are.
 */
const FIRST_BLOCKS_MAX = 1000;
/** It has no larger share than this of what there is to load. */
const FIRST_SHARE = 1 / 100;

/** What a worker loads with; `workers` share the memory. */
export const openLoader = (run: CatchUp, workers: number, inTurn = createTurns()): OpenPipeline => {
  const { options, tools, pools } = run;
  return createLoader({
    pools,
    claim: tools.claim,
    createDataset: () => tools.createDataset({ ...options, pool: pools.beside }),
    partRows: Math.max(PART_ROWS_MIN, Math.floor(PART_ROWS / workers)),
    inTurn,
    events: tools,
  });
};

/** What the ledger does not have of a span, lowest first. */
export const holesOf = async (
  { options, pools, network }: Pick<CatchUp, 'options' | 'pools' | 'network'>,
  span: BlockSpan,
): Promise<readonly BlockSpan[]> => {
  const gaps = await postgresStore(pools.beside, options.stream).gaps(network, span);
  return gaps.map(({ from, to }) => ({ from: from ?? span.from, to: to ?? span.to }));
};

const ruleOf = ({
  partitions,
  partition_blocks: blocks,
  target_rows: rows,
}: ParallelConfig): PartitionRule => {
  if (partitions !== undefined) return { kind: 'partitions', partitions };
  return blocks !== undefined ? { kind: 'blocks', blocks } : { kind: 'rows', rows: rows ?? TARGET_ROWS };
};

/** Rows of a partition unless said otherwise: a transaction of about a second. */
const TARGET_ROWS = 200_000;

/**
 * Loads what is missing of a span, with as many workers as are asked for and there are connections for.
 *
 * @returns partitions that failed and were gone past
 * @throws WarehouseError the first failure, where `stop_on_error` says so or none of the other partitions could do better
 */
export const fillHoles = async (run: CatchUp, span: BlockSpan): Promise<readonly FailedPartition[]> => {
  const { options, parallel, pools, network } = run;
  const { stream, config } = options;
  const holes = await holesOf(run, span);
  if (holes.length === 0 || options.signal.aborted) return [];
  const ends = await ledgerEnds(pools.beside, stream, network);
  const plan = planPartitions(holes, ruleOf(parallel));
  const begins = ends === null || ends.first > span.from;
  const isFolded = config.load === 'transfers' && config.fold === 'live';
  const bulk = parallel.bulk && config.load === 'transfers';
  const builder = bulk ? buildOf(run, isFolded) : null;
  const fold = builder ?? foldBehind(pools.folding, stream, options.signal);
  const signal = AbortSignal.any([options.signal, fold.failed]);
  const committed = (result: Committed): void => {
    run.tools.committed(result);
    if (isFolded || bulk) fold.note(result.rows);
  };
  const workers = Math.min(workersAsked(parallel.workers), run.workersMax);
  const { total } = plan;
  options.onEvent({ kind: 'catch-up', stream, network, done: 0, total, rows: 0, workers });
  try {
    const { failed, fatal } = await runCrew({
      plan,
      workers: parallel.workers,
      most: workers,
      first: begins ? Math.min(FIRST_BLOCKS_MAX, Math.ceil(plan.total * FIRST_SHARE)) : null,
      stopOnError: parallel.stop_on_error,
      signal,
      load: partitionLoader(
        { ...run, options: { ...options, signal, bulk }, tools: { ...run.tools, committed } },
        workers,
        builder === null ? undefined : () => builder.room(),
      ),
      onEvent: crewReporter(options, network),
      now: () => performance.now(),
    });
    if (fatal !== null) throw located(fatal, run);
    if (builder !== null && !signal.aborted) {
      await builder.drain();
      await builder.finish();
      await finishBehind(run, isFolded);
    }
    return failed;
  } finally {
    await fold.finish();
  }
};

/** How a partition that failed is loaded again. */
export const retryOf = ({ retry }: IngestOptions): PartitionRetry => retry ?? ((work) => work());

/** Builds whole weeks behind the workers. */
const buildOf = ({ options, pools }: CatchUp, fold: boolean): BuildBehind =>
  buildBehind({ ...pools, ...options, fold, onAttached: attachedEvent(options) });

/** What stands beside the set when nothing is left to be loaded becomes a part of it. */
const finishBehind = ({ options, pools }: CatchUp, fold: boolean): Promise<void> =>
  finishWeeks({
    ...options,
    pool: pools.loading,
    helping: pools.helping,
    fold,
    onAttached: attachedEvent(options),
  });

/** Loads one partition after the other for a worker, with what it has kept from the one before. */
const partitionLoader = (
  run: CatchUp,
  workers: number,
  room: (() => Promise<void>) | undefined,
): ((span: BlockSpan, worker: number, splitAt: number | null) => Promise<PartitionOutcome>) => {
  const { options, network, only } = run;
  const inTurn = createTurns();
  const loaders = new Map<number, OpenPipeline>();
  const retry = retryOf(options);
  return (span, worker, splitAt) =>
    retry(async () => {
      await room?.();
      const openPipeline = loaders.get(worker) ?? openLoader(run, workers, inTurn);
      // Taken out while it is in use: one that has failed may have lost what it knew, and is not used again.
      loaders.delete(worker);
      const outcome = await loadPartition({
        ...options,
        span,
        network,
        ranges: options.serverKind === 'amp',
        only,
        known: await hashesAround(run.ask, span),
        openPipeline,
        splitAt,
        replace: null,
      });
      if (outcome.kind === 'loaded') loaders.set(worker, openPipeline);
      return outcome;
    }, span);
};

/** The failure with the blocks it is about. */
const located = ({ span, error }: FailedPartition, { options, network }: CatchUp): unknown =>
  error instanceof WarehouseError
    ? withDetail(error, { stream: options.stream, network, block: span.from })
    : error;

/**
 * One failure for all partitions that were gone past: what the first one says, and how many there are.
 *
 * @returns null when there is none
 */
export const failureOf = (stream: string, failed: readonly FailedPartition[]): unknown => {
  const [first] = failed;
  if (first === undefined) return null;
  if (!(first.error instanceof WarehouseError)) return first.error;
  const spans = failed.map(({ span }) => describeSpan(span)).slice(0, SPANS_SHOWN);
  const more = failed.length > spans.length ? ` and ${failed.length - spans.length} more` : '';
  const { kind, message, detail, cause } = first.error;
  return new WarehouseError(
    kind,
    `${failed.length === 1 ? 'a partition' : `${failed.length} partitions`} of stream ${stream} failed, blocks ${spans.join(', ')}${more}: ${message}`,
    {
      block: first.span.from,
      ...detail,
      stream,
      remedy: `All other blocks are loaded. Start again for these.${detail.remedy === undefined ? '' : ` ${detail.remedy}`}`,
    },
    cause,
  );
};

/** Failed spans that an error names. */
const SPANS_SHOWN = 5;
