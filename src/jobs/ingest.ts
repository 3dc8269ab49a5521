/** Runs one stream: from the last committed block on, to the head, to a given block, or for ever. */
import type { Schema } from 'apache-arrow';
import { asWarehouseError, sqlstateOf } from '../db/errors.ts';
import { connectionLoss, releaseAdvisoryLock, tryAdvisoryLock } from '../db/locks.ts';
import { withClient } from '../db/pool.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { createBatchWriter } from '../warehouse/batches.ts';
import type { Dataset } from '../warehouse/datasets.ts';
import { createRows } from '../warehouse/rows.ts';
import { createSnapshots } from '../warehouse/snapshots.ts';
import { claimStream } from '../warehouse/stream-state.ts';
import { createTransfers } from '../warehouse/transfers.ts';
import { attachedEvent, finishWeeks } from './backfill/behind.ts';
import { catchUp } from './catch-up.ts';
import { failureOf } from './catch-up-holes.ts';
import { foldStream } from './fold.ts';
import { createUpkeep } from './ledger-upkeep.ts';
import { loadRest, unlessStopped, type Rest } from './load-rest.ts';
import { createPipeline, type Pipeline, type PipelineEvents } from './pipeline.ts';
import type { IngestOptions, IngestResult } from './run.ts';
import { countCommit, newTally } from './tally.ts';

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
        sqlstate: '55P03',
        remedy: 'One process loads a stream at a time; stop the other one, or let it go on.',
      });
    }
    // Without its session the lock is anybody's: stop before somebody else takes the stream.
    const loss = connectionLoss(holder);
    options.onEvent({ kind: 'begun', stream: options.stream });
    try {
      const result = await run({ ...options, signal: AbortSignal.any([options.signal, loss.signal]) });
      if (loss.signal.aborted && !options.signal.aborted) throw loss.signal.reason;
      return result;
    } catch (thrown) {
      const error = asWarehouseError(thrown, { stream: options.stream });
      throw error.kind === 'internal' && !(thrown instanceof WarehouseError) ? thrown : error;
    } finally {
      loss.forget();
      if (!loss.signal.aborted) await releaseAdvisoryLock(holder, lock).catch(() => undefined);
    }
  });

const run = async (options: IngestOptions): Promise<IngestResult> => {
  const { pool, stream, onEvent } = options;
  const { parallel } = options.config;
  const dataset = createDataset(options);
  const claim = await claimStream(pool, dataset.definition);
  const writer = createBatchWriter(pool, claim, dataset);
  const tally = newTally();
  const upkeep = createUpkeep(pool, stream);
  const events: PipelineEvents = {
    committed: (result) => {
      countCommit(tally, result);
      upkeep.note(result);
      onEvent({ kind: 'committed', stream, result });
    },
    reorged: (range, rowsErased) => {
      tally.reorgs++;
      onEvent({ kind: 'reorg', stream, range, rowsErased });
    },
  };
  const openPipeline = async (schema: Schema): Promise<Pipeline> => {
    await dataset.prepare(schema);
    return createPipeline(writer, dataset, options.config.commit_rows, events);
  };
  const load = async (): Promise<Rest> => {
    const tools = { claim, createDataset: createDeferred, ...events };
    const caught =
      parallel === undefined
        ? null
        : await catchUp(options, parallel, tools).catch((thrown: unknown) => ({
            end: unlessStopped(options)(thrown),
            failed: [],
            backfill: null,
          }));
    const fold = options.config.load === 'transfers' && options.config.fold === 'live';
    if (options.config.load === 'transfers')
      await finishWeeks({ ...options, fold, onAttached: attachedEvent(options) });
    if (fold) {
      // What an earlier run left to be folded later must be folded before anything behind it is.
      await foldStream({ pool, stream, signal: options.signal, acrossGaps: true });
    }
    return loadRest(options, caught, openPipeline);
  };
  try {
    const { end, failed } = await againWhereWeeksMoved(load, () => tally.batches);
    const failure = failureOf(stream, failed);
    if (failure !== null) throw failure;
    return { stream, end: end === 'nothing new' && tally.batches > 0 ? 'complete' : end, ...tally };
  } finally {
    await upkeep.finish();
  }
};

/** The stream's dataset for loading out of order: balances are folded behind, whatever `fold` says. */
const createDeferred = (options: IngestOptions): Dataset => {
  const { config } = options;
  return createDataset(
    config.load === 'transfers' ? { ...options, config: { ...config, fold: 'deferred' } } : options,
  );
};

/**
 * What a load meets when maintenance took a week out between its preparation and its commit: no partition for the row, or
 * the fold's refusal. The weeks are remembered by the run, so it starts over from the ledger and looks at them anew. The same where a
 * partition does not join what is loaded, for a fork has come between them: starting over takes back what has left the chain.
 */
const MOVED_WEEKS: ReadonlySet<string | undefined> = new Set(['23514', '40001']);

/** Runs `load` again where weeks have moved; twice in a row without a commit between is a failure. */
const againWhereWeeksMoved = async (load: () => Promise<Rest>, committed: () => number): Promise<Rest> => {
  for (let failedAt = -1; ;) {
    try {
      return await load();
    } catch (thrown) {
      if (!MOVED_WEEKS.has(sqlstateOf(thrown)) || committed() === failedAt) throw thrown;
      failedAt = committed();
    }
  }
};

const createDataset = (options: IngestOptions): Dataset => {
  const { pool, stream, config, serverKind, now, bulk = false } = options;
  const hasBlocks = serverKind === 'amp';
  if (config.load === 'transfers') return createTransfers(pool, stream, config, now, bulk);
  if (config.load === 'snapshots') return createSnapshots(pool, stream, config, hasBlocks, now);
  return createRows(pool, stream, config, hasBlocks, now, options.labelMemory_bytes);
};
