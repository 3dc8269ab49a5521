/** What each worker of a catch-up keeps between its partitions: dataset, writer and the memory of its buffers. */
import type { Schema } from 'apache-arrow';
import { boundedPool } from '../db/bounded.ts';
import type { Pool } from '../db/query.ts';
import { createBatchWriter, type BatchWriter } from '../warehouse/batches.ts';
import type { Dataset, LoadBuffer } from '../warehouse/datasets.ts';
import { requireNeighbours } from '../warehouse/ledger-edges.ts';
import type { StreamClaim } from '../warehouse/stream-state.ts';
import type { ConnectionShare } from './connections.ts';
import { createPipeline, type PipelineEvents } from './pipeline.ts';
import type { OpenPipeline } from './read-into.ts';

/** Pools of a catch-up. */
export interface CatchUpPools {
  /** For transactions that load; a worker takes one, and there are no more workers than connections. */
  readonly loading: Pool;
  /** For all that is done beside them, one at a time. */
  readonly beside: Pool;
  readonly folding: Pool;
  readonly keying: Pool;
  /** Shares the fold of a whole week; null where there is no connection for it. */
  readonly helping: Pool | null;
}

/** Views of `pool` for this share. */
export const openPools = (pool: Pool, { foldApart, keysApart, helpApart }: ConnectionShare): CatchUpPools => {
  const beside = boundedPool(pool, 1);
  const folding = foldApart ? boundedPool(pool, 1) : beside;
  const keying = keysApart ? boundedPool(pool, 1) : folding;
  const helping = helpApart ? boundedPool(pool, 1) : keysApart ? keying : null;
  return { loading: pool, beside, folding, keying, helping };
};

/** One after the other, in the order of their asking. */
export type InTurn = <T>(work: () => Promise<T>) => Promise<T>;

/** A queue of one. */
export const createTurns = (): InTurn => {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const next = last.then(work, work);
    last = next.catch(() => undefined);
    return next;
  };
};

/** What a loader is made of. */
export interface LoaderOptions {
  readonly pools: CatchUpPools;
  readonly claim: StreamClaim;
  readonly createDataset: () => Dataset;
  /** Rows in a write; less than of a stream alone, since every worker holds some. */
  readonly partRows: number;
  /** Targets are made by one worker, and found by the others. */
  readonly inTurn: InTurn;
  readonly events: PipelineEvents;
}

/** The pipelines of one worker, one after the other. After a failure it is of no more use. */
export const createLoader = ({
  pools,
  claim,
  createDataset,
  partRows,
  inTurn,
  events,
}: LoaderOptions): OpenPipeline => {
  const dataset = createDataset();
  const buffers: LoadBuffer[] = [];
  let spares: LoadBuffer[] = [];
  let writer: BatchWriter | null = null;
  const createBuffer = (): LoadBuffer => {
    const spare = spares.pop();
    if (spare !== undefined) return spare;
    const made = dataset.createBuffer();
    buffers.push(made);
    return made;
  };
  const open = async (schema: Schema): Promise<BatchWriter> => {
    await inTurn(() => dataset.prepare(schema));
    return createBatchWriter(pools.loading, claim, dataset, requireNeighbours);
  };
  return async (schema) => {
    writer ??= await open(schema);
    // The partition before is committed: its buffers are empty.
    spares = [...buffers];
    return createPipeline(writer, { ...dataset, createBuffer }, partRows, events);
  };
};
