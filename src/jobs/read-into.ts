/** Reads a query into a pipeline, message by message, and ends both together however either ends. */
import type { Schema } from 'apache-arrow';
import type { Watermark } from '../chain/range.ts';
import { queryFlight, type QueryMessage } from '../flight/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import type { Pipeline } from './pipeline.ts';
import type { IngestOptions } from './run.ts';

/** Makes the target ready for rows of this schema. */
export type OpenPipeline = (schema: Schema) => Promise<Pipeline>;

/** What is read, and how. */
export interface Reading {
  readonly query: string;
  /** Follow the head instead of ending there. */
  readonly stream: boolean;
  readonly resume: readonly Watermark[];
  /** Takes one message; true when it is enough. */
  take(pipeline: Pipeline, message: QueryMessage): Promise<boolean>;
  /** Called when the server confirmed the end of the result. */
  atEnd?(pipeline: Pipeline): Promise<void>;
}

/**
 * Reads until `take` has enough (`complete`), the run is stopped, or the server ends the result (`ended`). What is whole
 * by then is committed; after a failure no transaction is left open.
 *
 * @throws WarehouseError why a write or the server failed
 */
export const readInto = async (
  options: Pick<IngestOptions, 'client' | 'signal'>,
  openPipeline: OpenPipeline,
  reading: Reading,
): Promise<'complete' | 'stopped' | 'ended'> => {
  const stop = new AbortController();
  let pipeline: Pipeline | null = null;
  const open = async (schema: Schema): Promise<Pipeline> => {
    const opened = await openPipeline(schema);
    opened.failed.addEventListener('abort', () => stop.abort(opened.failed.reason), { once: true });
    return opened;
  };
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const { query, stream, resume } = reading;
  try {
    let end: 'complete' | 'ended' = 'ended';
    for await (const message of queryFlight(options.client, query, { stream, resume, signal })) {
      pipeline ??= await open(message.schema);
      if (!(await reading.take(pipeline, message))) continue;
      end = 'complete';
      break;
    }
    if (end === 'ended' && pipeline !== null) await reading.atEnd?.(pipeline);
    await pipeline?.finish();
    return end;
  } catch (thrown) {
    return await endAfter(thrown, pipeline, options.signal);
  }
};

/** A failed write ends the reading too: report the write, not the reading that was broken off for it. */
const endAfter = async (
  thrown: unknown,
  pipeline: Pipeline | null,
  stopped: AbortSignal,
): Promise<'stopped'> => {
  if (pipeline === null) throw thrown;
  try {
    const isStop = stopped.aborted && thrown instanceof WarehouseError && thrown.kind === 'cancelled';
    if (!isStop || pipeline.failed.aborted) throw thrown;
    await pipeline.finish();
    return 'stopped';
  } catch (failure) {
    await pipeline.abandon();
    throw pipeline.failed.aborted ? pipeline.failed.reason : failure;
  }
};
