/** What a devnet serves: blocks with hashes, tables derived from them, and a head that moves. */
import type { RecordBatch, Schema } from 'apache-arrow';

/** One table of a chain, as a query sees it. */
export interface TableShape {
  /** All columns, `_block_num` included. */
  readonly schema: Schema;
  /** The columns that hold the block number, hence may stand in a WHERE. */
  readonly blockColumns: readonly string[];
}

/**
 * The chain as it stood at one moment. Reorgs and new blocks after that moment do not show, so that a microbatch
 * begun before a reorg ends as it began.
 */
export interface ChainView {
  /** Highest synced block; null while nothing is synced. */
  readonly head: number | null;
  /** Hash of a block up to the head, lower-case `0x` hex. */
  readonly hashOf: (number: number) => string;
  /** Hash of a block's parent; all zeros for the first block of a chain that starts at genesis. */
  readonly parentHashOf: (number: number) => string;
  /** Seconds since 1970. */
  readonly timestampOf: (number: number) => number;
  /** Rows of a table in blocks `from`..`to`, both inclusive. */
  readonly rowsIn: (table: string, from: number, to: number) => number;
  /** Those rows, with all columns of the table's schema. */
  readonly batch: (table: string, from: number, to: number) => RecordBatch;
}

/** A chain that can be served. */
export interface Chain {
  readonly network: string;
  /** First block there is. */
  readonly earliest: number;
  readonly tables: ReadonlyMap<string, TableShape>;
  readonly view: () => ChainView;
  /**
   * For the hash of a block that a reorg dropped: the number of its last ancestor still on the chain (one below
   * `earliest` when there is none). Null for a hash this chain does not know.
   */
  readonly commonAncestor: (hash: string) => number | null;
  /** Calls `onChange` after every change of the head, until the returned function is called. */
  readonly subscribe: (onChange: () => void) => () => void;
}

/** The subscribers of a chain and the signal that wakes them. */
export const createSignal = (): { readonly subscribe: Chain['subscribe']; readonly fire: () => void } => {
  const listeners = new Set<() => void>();
  return {
    subscribe: (onChange) => {
      listeners.add(onChange);
      return () => listeners.delete(onChange);
    },
    fire: () => {
      for (const listener of listeners) listener();
    },
  };
};
