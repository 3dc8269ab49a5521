/** What is left for the stream itself once history is caught up; holes that are left are filled beside it. */
import { WarehouseError } from '../runtime/errors.ts';
import type { CaughtUp } from './catch-up.ts';
import type { FailedPartition } from './catch-up-crew.ts';
import { loadBlocks } from './load-blocks.ts';
import { loadWhole } from './load-whole.ts';
import type { OpenPipeline } from './read-into.ts';
import type { IngestEnd, IngestOptions } from './run.ts';

/** How the rest ended. */
export interface Rest {
  readonly end: IngestEnd;
  /** Partitions that no try has loaded. */
  readonly failed: readonly FailedPartition[];
}

/**
 * Goes on behind what is caught up; all of it where nothing was (`caught` is null).
 *
 * @throws WarehouseError as the stream fails, or what is filled beside it; either ends the other
 */
export const loadRest = async (
  options: IngestOptions,
  caught: CaughtUp | null,
  openPipeline: OpenPipeline,
): Promise<Rest> => {
  const load = options.serverKind === 'amp' ? loadBlocks : loadWhole;
  if (caught === null)
    return { end: await load(options, openPipeline).catch(unlessStopped(options)), failed: [] };
  const { end, failed, backfill } = caught;
  if (end !== 'go on') return { end: end === 'complete' ? 'nothing new' : end, failed };
  const behind = { ...options, window: { from: null, to: options.window.to } };
  if (backfill === null || !options.follow)
    return { end: await load(behind, openPipeline).catch(unlessStopped(options)), failed };
  const over = new AbortController();
  const signal = AbortSignal.any([options.signal, over.signal]);
  const endsBoth = (thrown: unknown): never => {
    over.abort();
    throw thrown;
  };
  const [live, holes] = await Promise.allSettled([
    load({ ...behind, signal }, openPipeline)
      .catch(unlessStopped({ signal }))
      .catch(endsBoth),
    backfill({ ...options, signal }).catch(endsBoth),
  ]);
  if (live.status === 'rejected') throw live.reason;
  if (holes.status === 'rejected') throw holes.reason;
  return { end: live.value, failed: holes.value };
};

/** Stopped before there was anything to finish: no failure. */
export const unlessStopped =
  ({ signal }: Pick<IngestOptions, 'signal'>) =>
  (thrown: unknown): 'stopped' => {
    if (signal.aborted && thrown instanceof WarehouseError && thrown.kind === 'cancelled') return 'stopped';
    throw thrown;
  };
