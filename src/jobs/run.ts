/** What a run of a stream is: how it is asked for, what it tells meanwhile, and what it comes to. */
import type { BlockSpan } from '../chain/partitions.ts';
import type { BlockRange } from '../chain/range.ts';
import type { BlockWindow } from '../chain/window.ts';
import type { Pool } from '../db/query.ts';
import type { FlightClient } from '../flight/client.ts';
import type { ServerConfig, StreamConfig } from '../runtime/config.ts';
import type { WarehouseError } from '../runtime/errors.ts';
import type { BreakerState } from '../runtime/resilience.ts';
import type { AttachedWeek } from '../warehouse/backfill/weeks.ts';
import type { Committed } from '../warehouse/batches.ts';
import type { WorkerTally } from '../warehouse/stream-health.ts';

/** What happens during a run, for progress and metrics. */
export type IngestEvent =
  /** The stream is ours: nobody else loads it until the run has ended. */
  | { readonly kind: 'begun'; readonly stream: string }
  | { readonly kind: 'head'; readonly stream: string; readonly network: string; readonly block: number }
  | { readonly kind: 'committed'; readonly stream: string; readonly result: Committed }
  | {
      readonly kind: 'reorg';
      readonly stream: string;
      readonly range: BlockRange;
      readonly rowsErased: number;
    }
  /** What a worker of a catch-up does with the blocks `from` to `to` (exclusive). */
  | {
      readonly kind: 'partition';
      readonly stream: string;
      readonly network: string;
      readonly worker: number;
      readonly from: number;
      readonly to: number;
      /** `too large`: given up, to be loaded in pieces. */
      readonly state: 'loading' | 'loaded' | 'too large' | 'stopped' | 'failed';
      readonly rows?: number;
      readonly seconds?: number;
      /** What the worker has loaded since the catch-up began. */
      readonly loaded: WorkerTally;
      readonly error?: WarehouseError;
    }
  /** How far the catch-up is: blocks of those that were missing when it began, and rows of the server. */
  | {
      readonly kind: 'catch-up';
      readonly stream: string;
      readonly network: string;
      readonly done: number;
      readonly total: number;
      readonly rows: number;
      readonly workers: number;
    }
  /** A week of history that was loaded beside the set is a part of it now, with its balances. */
  | { readonly kind: 'week'; readonly stream: string; readonly attached: AttachedWeek }
  /** A try failed; the next one comes after `delay_ms`. */
  | {
      readonly kind: 'retry';
      readonly stream: string;
      readonly error: WarehouseError;
      readonly failures: number;
      readonly delay_ms: number;
    }
  | { readonly kind: 'breaker'; readonly stream: string; readonly state: BreakerState }
  /** The server is overloaded or late: this long is waited before each query from now on. */
  | { readonly kind: 'slower'; readonly stream: string; readonly delay_ms: number }
  /** The stream is given up; the others go on. */
  | { readonly kind: 'failed'; readonly stream: string; readonly error: WarehouseError };

/** Decides whether a partition that failed is loaded again. */
export type PartitionRetry = <T>(load: () => Promise<T>, span: BlockSpan) => Promise<T>;

/** How to run a stream. */
export interface IngestOptions {
  readonly pool: Pool;
  readonly client: FlightClient;
  readonly stream: string;
  readonly config: StreamConfig;
  readonly serverKind: ServerConfig['kind'];
  /** Blocks to load; both null for everything. */
  readonly window: BlockWindow;
  /** Go on behind the head until stopped. */
  readonly follow: boolean;
  /** Stops the run: what is whole is committed, the rest will come again. */
  readonly signal: AbortSignal;
  /** The present instant, which bounds the sane window of row times. */
  readonly now: Date;
  readonly onEvent: (event: IngestEvent) => void;
  /** Longest wait for a server to say where its head is, in milliseconds; one minute. */
  readonly headLimit_ms?: number;
  /** Connections of the pool that this run may use, three at least; all of them. */
  readonly connections?: number;
  /** Runs the load of one partition, and may run it again after a failure; each time it begins anew. */
  readonly retry?: PartitionRetry;
  /** Load weeks of the past that have no data yet beside the set: for the workers of a catch-up. */
  readonly bulk?: boolean;
  /** Bytes up to which a label table that a `rows` stream joins is kept in memory, 32 MiB; larger ones are joined in SQL. */
  readonly labelMemory_bytes?: number;
}

/** Why a run ended. */
export type IngestEnd = 'complete' | 'stopped' | 'nothing new' | 'nothing synced';

/** What a run did. */
export interface IngestResult {
  readonly stream: string;
  readonly end: IngestEnd;
  readonly rows: number;
  readonly quarantined: number;
  readonly batches: number;
  readonly blocks: number;
  readonly reorgs: number;
  /** Rows that found no label in at least one join; null where the stream joins none. */
  readonly unmatched: number | null;
  /** Rows that an inner join with labels left out: not among `rows`. */
  readonly dropped: number;
}
