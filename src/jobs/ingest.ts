/** Runs one stream: from the last committed block on, to the head, to a given block, or for ever. */
import type { Schema } from 'apache-arrow';
import { asWarehouseError } from '../db/errors.ts';
import { releaseAdvisoryLock, tryAdvisoryLock } from '../db/locks.ts';
import { withClient } from '../db/pool.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { createBatchWriter, type Committed } from '../warehouse/batches.ts';
import type { Dataset } from '../warehouse/datasets.ts';
import { createRows } from '../warehouse/rows.ts';
import { createSnapshots } from '../warehouse/snapshots.ts';
import { claimStream } from '../warehouse/stream-state.ts';
import { createTransfers } from '../warehouse/transfers.ts';
import { catchUp, type CaughtUp } from './catch-up.ts';
import { failureOf } from './catch-up-holes.ts';
import { foldStream } from './fold.ts';
import { loadRest, unlessStopped } from './load-rest.ts';
import { createPipeline, type Pipeline, type PipelineEvents } from './pipeline.ts';
import type { IngestOptions, IngestResult } from './run.ts';

export type { IngestEvent, IngestOptions, IngestResult } from './run.ts';

/**
 * Loads one stream until its end, exactly once: rows and position commit together, so a run that was killed at any
 * moment is continued by the next one without a repeat or a hole.
 *
 * @throws WarehouseError `conflict` when another process loads the stream; whatever server, data or database refused.
 *   Everything committed before stays; nothing of the batch at fault does.
 */
export const ingest = (options: IngestOptions): Promise<IngestResult> =>
  withClient(options.pool, async (holder) => {
    const lock = `stream ${options.stream}`;
    if (!(await tryAdvisoryLock(holder, lock))) {
      throw new WarehouseError('conflict', `another process is loading stream ${options.stream}`, {
        stream: options.stream,
        remedy: 'One process loads a stream at a time; stop the other one, or let it go on.',
      });
    }
    try {
      return await run(options);
    } catch (thrown) {
      const error = asWarehouseError(thrown, { stream: options.stream });
      throw error.kind === 'internal' && !(thrown instanceof WarehouseError) ? thrown : error;
    } finally {
      await releaseAdvisoryLock(holder, lock).catch(() => undefined);
    }
  });

/** Running totals of a run. */
interface Tally {
  rows: number;
  quarantined: number;
  batches: number;
  blocks: number;
  reorgs: number;
}

const run = async (options: IngestOptions): Promise<IngestResult> => {
  const { pool, stream, onEvent } = options;
  const dataset = createDataset(options);
  const claim = await claimStream(pool, dataset.definition);
  const tally: Tally = { rows: 0, quarantined: 0, batches: 0, blocks: 0, reorgs: 0 };
  const committed = (result: Committed): void => {
    count(tally, result);
    onEvent({ kind: 'committed', stream, result });
  };
  const reorged: PipelineEvents['reorged'] = (range, rowsErased) => {
    tally.reorgs++;
    onEvent({ kind: 'reorg', stream, range, rowsErased });
  };
  const { parallel } = options.config;
  const tools = { claim, createDataset: createDeferred, committed, reorged };
  const caught =
    parallel === undefined
      ? null
      : await catchUp(options, parallel, tools).catch((thrown: unknown): CaughtUp => ({
          end: unlessStopped(options)(thrown),
          failed: [],
          backfill: null,
        }));
  if (options.config.load === 'transfers' && options.config.fold === 'live') {
    // What an earlier run left to be folded later must be folded before anything behind it is.
    await foldStream({ pool, stream, signal: options.signal, acrossGaps: true });
  }
  const writer = createBatchWriter(pool, claim, dataset);
  const openPipeline = async (schema: Schema): Promise<Pipeline> => {
    await dataset.prepare(schema);
    return createPipeline(writer, dataset, options.config.commit_rows, { committed, reorged });
  };
  const { end, failed } = await loadRest(options, caught, openPipeline);
  const failure = failureOf(stream, failed);
  if (failure !== null) throw failure;
  return { stream, end: end === 'nothing new' && tally.batches > 0 ? 'complete' : end, ...tally };
};

/** The stream's dataset for loading out of order: balances are folded behind, whatever `fold` says. */
const createDeferred = (options: IngestOptions): Dataset => {
  const { config } = options;
  return createDataset(
    config.load === 'transfers' ? { ...options, config: { ...config, fold: 'deferred' } } : options,
  );
};

const count = (tally: Tally, result: Committed): void => {
  tally.rows += result.rows;
  tally.quarantined += result.quarantined;
  tally.batches += result.ranges.length;
  for (const { range } of result.ranges) tally.blocks += range.end - range.start + 1;
};

const createDataset = ({ pool, stream, config, serverKind, now }: IngestOptions): Dataset => {
  const hasBlocks = serverKind === 'amp';
  if (config.load === 'transfers') return createTransfers(pool, stream, config, now);
  if (config.load === 'snapshots') return createSnapshots(pool, stream, config, hasBlocks, now);
  return createRows(pool, stream, config, hasBlocks, now);
};
