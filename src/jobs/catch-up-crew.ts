/**
 * The workers of a catch-up: each takes the lowest partition that is open, loads it whole, and takes the next one.
 *
 * ```
 *   open ──take──► loading ──► loaded
 *     ▲               ├──────► too large: open again, in pieces
 *     └───────────────┘└─────► failed: reported at the end, or the end of all
 * ```
 */
import {
  lengthOf,
  noteRows,
  rowsToSplitAt,
  splitPartition,
  takePartition,
  type BlockSpan,
  type PartitionPlan,
} from '../chain/partitions.ts';
import { WarehouseError } from '../runtime/errors.ts';
import {
  addToMeasurement,
  rateOf,
  startMeasurement,
  startTuning,
  tuneWorkers,
  type Measurement,
  type Tuning,
} from './catch-up-tuning.ts';

/** What came of one partition. */
export type PartitionOutcome =
  | { readonly kind: 'loaded'; readonly rows: number }
  /** Given up after so many rows. */
  | { readonly kind: 'too large'; readonly rows: number }
  | { readonly kind: 'stopped' };

/** A partition that could not be loaded. */
export interface FailedPartition {
  readonly span: BlockSpan;
  readonly error: unknown;
}

/** What happens in a crew, for progress. */
export type CrewEvent =
  | { readonly kind: 'begun'; readonly worker: number; readonly span: BlockSpan }
  | {
      readonly kind: 'ended';
      readonly worker: number;
      readonly span: BlockSpan;
      readonly outcome: PartitionOutcome | { readonly kind: 'failed'; readonly error: unknown };
      readonly seconds: number;
      /** Blocks loaded so far, and to be loaded in all. */
      readonly done: number;
      readonly total: number;
      readonly workers: number;
    };

/** How a crew works. */
export interface CrewOptions {
  readonly plan: PartitionPlan;
  readonly workers: number | 'auto';
  /** Most workers there are connections for. */
  readonly most: number;
  /** End after the first failure, or go on with the other partitions. */
  readonly stopOnError: boolean;
  readonly signal: AbortSignal;
  /** Blocks of a first partition that is loaded before all others; null when they all begin at once. */
  readonly first: number | null;
  /** Loads one partition whole, or leaves nothing of it; a worker never loads two at once. */
  readonly load: (span: BlockSpan, worker: number, splitAt: number | null) => Promise<PartitionOutcome>;
  readonly onEvent: (event: CrewEvent) => void;
  /** Milliseconds, of any beginning. */
  readonly now: () => number;
}

/** How a crew ended. */
interface CrewResult {
  readonly failed: readonly FailedPartition[];
  /** The failure that ended it before all partitions were tried; null when there was none such. */
  readonly fatal: FailedPartition | null;
}

/** Failures that every other partition would meet too: there is no going on after them. */
const isHopeless = (error: unknown): boolean =>
  !(error instanceof WarehouseError) ||
  ['usage', 'config', 'auth', 'conflict', 'cancelled', 'internal'].includes(error.kind);

const isCancelled = (error: unknown): boolean =>
  error instanceof WarehouseError && error.kind === 'cancelled';

/** Loads all partitions of a plan; ends when none is left that may still be loaded. Failures are in the result, never thrown. */
export const runCrew = async (options: CrewOptions): Promise<CrewResult> => {
  const { signal, stopOnError, load, onEvent, now } = options;
  const failed: FailedPartition[] = [];
  const busy = new Map<number, Promise<void>>();
  let { plan } = options;
  let tuning: Tuning = startTuning(options.workers, options.most);
  let measurement: Measurement = startMeasurement(tuning.workers, now());
  let fatal: FailedPartition | null = null;
  let done = 0;

  let first: BlockSpan | null = null;
  const isFirst = (span: BlockSpan): boolean => span === first;

  const settle = (span: BlockSpan, outcome: PartitionOutcome): void => {
    if (outcome.kind === 'too large') plan = splitPartition(plan, span, outcome.rows);
    if (outcome.kind !== 'loaded') return;
    plan = noteRows(plan, span, outcome.rows);
    done += lengthOf(span);
    measurement = addToMeasurement(measurement, lengthOf(span), outcome.rows);
    const rate = rateOf(measurement, now());
    if (rate === null) return;
    tuning = tuneWorkers(tuning, rate);
    measurement = startMeasurement(tuning.workers, now());
  };
  const loadOne = async (worker: number, span: BlockSpan): Promise<void> => {
    const began = now();
    const report = (outcome: Extract<CrewEvent, { kind: 'ended' }>['outcome']): void =>
      onEvent({
        kind: 'ended',
        worker,
        span,
        outcome,
        seconds: (now() - began) / 1000,
        done,
        total: plan.total,
        workers: tuning.workers,
      });
    onEvent({ kind: 'begun', worker, span });
    try {
      const splitAt = isFirst(span) ? null : rowsToSplitAt(plan, span);
      const outcome = await load(span, worker, splitAt);
      settle(span, outcome);
      report(outcome);
    } catch (error) {
      if (signal.aborted && isCancelled(error)) return report({ kind: 'stopped' });
      failed.push({ span, error });
      if (stopOnError || isFirst(span) || isHopeless(error)) fatal ??= { span, error };
      report({ kind: 'failed', error });
    }
  };
  /** Gives every idle worker a partition: after each end there may be more of both. */
  const employ = (): void => {
    for (let worker = 0; worker < tuning.workers; worker++) {
      if (busy.has(worker) || fatal !== null || signal.aborted) continue;
      const taken = takePartition(plan, tuning.workers);
      if (taken === null) return;
      ({ plan } = taken);
      busy.set(
        worker,
        loadOne(worker, taken.partition).finally(() => {
          busy.delete(worker);
          employ();
        }),
      );
    }
  };
  const taken = options.first === null ? null : takePartition(plan, tuning.workers, options.first);
  if (taken !== null) {
    ({ plan, partition: first } = taken);
    await loadOne(0, first);
  }
  employ();
  while (busy.size > 0) await Promise.race(busy.values());
  return { failed, fatal };
};
