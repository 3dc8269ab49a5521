/** What a stream's rows become: the contract that every kind of load keeps, so that ingestion need not know which. */
import type { RecordBatch, Schema } from 'apache-arrow';
import type { BlockRange } from '../chain/range.ts';
import type { Client } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import type { InvalidSpan, RangeCount } from './state/store.ts';
import type { StreamDefinition } from './stream-state.ts';

/** A range of the microbatch at hand, with the identities its rows carry. */
export interface RangePlace {
  readonly range: BlockRange;
  readonly sourceId: number;
  readonly batchId: bigint;
  /** Whether its rows are loaded already: they come again because those of another network are new. */
  readonly replayed?: boolean;
}

/** Rows gathered in memory until they are written; used again after `clear`. */
export interface LoadBuffer {
  /** Rows of the target table held. */
  readonly rows: number;
  /**
   * Takes the rows of a record batch.
   *
   * @param places the ranges of its microbatch
   * @returns what each network got
   * @throws WarehouseError `data` for a value the target cannot hold; the buffer is then of no more use
   */
  append(batch: RecordBatch, places: readonly RangePlace[]): ReadonlyMap<string, RangeCount>;
  /** Does what can be done before the connection is free, such as sorting. */
  prepare(): void;
  /** Forgets the rows, keeps the memory. */
  clear(): void;
}

/** A range that is committed now, with its source. */
export interface SettledEntry {
  readonly sourceId: number;
  readonly range: BlockRange;
}

/** What joining labels on load came to. */
export interface LabelCount {
  /** Rows that found no label in at least one of the joins. */
  readonly unmatched: number;
  /** Those of them that an inner join left out. */
  readonly dropped: number;
}

/** One kind of load, bound to its stream's configuration and target. */
export interface Dataset {
  readonly definition: StreamDefinition;
  /** The managed sets that its transactions write to. */
  sets(): Promise<readonly string[]>;
  /** Rows to write at once: memory holds up to three times as many. */
  readonly partRows: number;
  /** Checks the mapping and makes the target ready; called with the first schema, and again only if it is reopened. */
  prepare(schema: Schema): Promise<void>;
  createBuffer(): LoadBuffer;
  /** Makes what the rows need beside their transaction: weeks. */
  reserve(buffer: LoadBuffer, open: Client | null): Promise<void>;
  /** Writes the rows inside the caller's transaction. */
  write(client: Client, buffer: LoadBuffer): Promise<void>;
  /**
   * Last in the transaction, once all rows are written and erased: what follows from them, such as balances. Says how many
   * rows found no label, where labels are joined.
   */
  settle(client: Client, entries: readonly SettledEntry[]): Promise<LabelCount | void>;
  /** Makes the weeks of a span such that rows can be deleted, in a transaction of its own. For sets that may be stored by column. */
  makeErasable?(span: InvalidSpan): Promise<void>;
  /** Deletes the rows of blocks `from` to `to` (inclusive; null is open) of a source; says how many. */
  erase(
    client: Client,
    sourceId: number,
    span: InvalidSpan,
    from: number,
    to: number | null,
  ): Promise<number>;
}

/** No rows. */
export const NOTHING: RangeCount = { rows: 0, quarantined: 0, minTime: null, maxTime: null };

/** Two counts of one range together. */
export const addCounts = (a: RangeCount, b: RangeCount): RangeCount => ({
  rows: a.rows + b.rows,
  quarantined: a.quarantined + b.quarantined,
  minTime:
    a.minTime === null || b.minTime === null ? (a.minTime ?? b.minTime) : Math.min(a.minTime, b.minTime),
  maxTime:
    a.maxTime === null || b.maxTime === null ? (a.maxTime ?? b.maxTime) : Math.max(a.maxTime, b.maxTime),
});

/**
 * What a dataset's `prepare` opened, for the methods that come after it.
 *
 * @throws WarehouseError `internal` from `get` before the first `set`
 */
export const createPrepared = <T extends object>(): {
  readonly get: () => T;
  readonly set: (value: T) => void;
} => {
  let held: T | null = null;
  return {
    get: () => {
      if (held === null) throw new WarehouseError('internal', 'a dataset was used before it was prepared');
      return held;
    },
    set: (value) => {
      held = value;
    },
  };
};
