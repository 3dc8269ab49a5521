/** A simulated chain: deterministic from its seed, with a real hash chain, busy accounts, and reorgs on demand. */
import type { RecordBatch } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';
import { batchOf, column, schemaOf, types } from './columns.ts';
import { EMPTY_LINEAGE, branchOf, createOrphanage, extend, forkOff, hashBytes, hashOf } from './hashes.ts';
import type { Lineage } from './hashes.ts';
import { LOGS_SCHEMA, createLogGenerator } from './logs.ts';
import { createRandom, seedWords } from './random.ts';
import { createSignal } from './source.ts';
import type { Chain, ChainView, TableShape } from './source.ts';
import { TRANSFERS_SCHEMA, createTransferGenerator } from './transfers.ts';
import type { BlockPlace } from './transfers.ts';

/** What a chain is made from: the same options make the same chain, byte for byte. */
export interface ChainOptions {
  /** Default 1. */
  readonly seed?: number | undefined;
  /** Name of the network; default `devnet`. */
  readonly network?: string | undefined;
  /** Seconds since 1970 of block 0; default 2026-01-04T00:00:00Z, a Sunday. */
  readonly genesisTime?: number | undefined;
  /** Default 12. */
  readonly blockSeconds?: number | undefined;
  /** Rows of `transfers` in each block but block 0, which endows accounts instead; default 200. */
  readonly transfersPerBlock?: number | undefined;
  /** Rows of `logs` in each block; default 20. */
  readonly logsPerBlock?: number | undefined;
  /** Default 10,000; who moves how much follows Zipf's law. */
  readonly accounts?: number | undefined;
  /** Default 20; the last one's amounts lie near 2^255. */
  readonly tokens?: number | undefined;
  /** Blocks there are from the beginning; default 0: nothing synced. */
  readonly blocks?: number | undefined;
  /** Whether the server still knows the blocks a reorg dropped; if not, it can only step back one block. Default true. */
  readonly remembersForks?: boolean | undefined;
}

/** A simulated chain and what makes it move. Tables: `transfers`, `blocks`, `logs`. */
export interface SimulatedChain extends Chain {
  /** Adds `blocks` blocks and wakes whoever follows the head. */
  readonly advance: (blocks: number) => void;
  /**
   * Drops the last `depth` blocks and adds `newBlocks` of a new branch in their place. With fewer new blocks than
   * dropped the chain gets shorter.
   *
   * @throws WarehouseError `usage` when `depth` is not 1 to the number of blocks.
   */
  readonly reorg: (depth: number, newBlocks: number) => void;
}

/** Schema of `blocks`; `number` is `block_num` under the name that block explorers use. */
const BLOCKS_SCHEMA = schemaOf({
  _block_num: types.uint64,
  block_num: types.uint64,
  number: types.uint64,
  hash: types.hash,
  parent_hash: types.hash,
  timestamp: types.time,
});

/** 2026-01-04T00:00:00Z. */
const DEFAULT_GENESIS_TIME = 1_767_484_800;
const NANOSECONDS = 1_000_000_000n;

const TABLES: ReadonlyMap<string, TableShape> = new Map([
  ['transfers', { schema: TRANSFERS_SCHEMA, blockColumns: ['_block_num', 'block_num'] }],
  ['blocks', { schema: BLOCKS_SCHEMA, blockColumns: ['_block_num', 'block_num', 'number'] }],
  ['logs', { schema: LOGS_SCHEMA, blockColumns: ['_block_num', 'block_num'] }],
]);

const blocksBatch = (lineage: Lineage, places: readonly BlockPlace[]): RecordBatch => {
  const numbers = BigUint64Array.from(places, ({ number }) => BigInt(number));
  const [from, to] = [places[0]?.number ?? 0, places.at(-1)?.number ?? -1];
  return batchOf(BLOCKS_SCHEMA, places.length, [
    column.uint64(numbers),
    column.uint64(numbers),
    column.uint64(numbers),
    column.hash(hashBytes(lineage, from, to)),
    column.hash(hashBytes(lineage, from - 1, to - 1)),
    column.time(BigInt64Array.from(places, ({ timestamp }) => BigInt(timestamp) * NANOSECONDS)),
  ]);
};

/** How one table's rows are counted and made. */
interface TableRows {
  readonly rowsOf: (block: number) => number;
  readonly batch: (lineage: Lineage, places: readonly BlockPlace[]) => RecordBatch;
}

const createTables = (options: ChainOptions, seed: Uint32Array): ReadonlyMap<string, TableRows> => {
  const { accounts = 10_000, tokens = 20, transfersPerBlock = 200, logsPerBlock = 20 } = options;
  const transfers = createTransferGenerator({ accounts, tokens, transfersPerBlock }, createRandom(seed));
  const logs = createLogGenerator(logsPerBlock, createRandom(seed));
  return new Map<string, TableRows>([
    ['transfers', { rowsOf: transfers.rowsOf, batch: (_, places) => transfers.batch(places) }],
    ['blocks', { rowsOf: () => 1, batch: blocksBatch }],
    ['logs', { rowsOf: () => logsPerBlock, batch: (_, places) => logs(places) }],
  ]);
};

const rowsOf = (tables: ReadonlyMap<string, TableRows>, table: string): TableRows => {
  const rows = tables.get(table);
  if (rows === undefined) throw new WarehouseError('internal', `The simulated chain has no table ${table}.`);
  return rows;
};

const viewOf = (
  lineage: Lineage,
  tables: ReadonlyMap<string, TableRows>,
  timestampOf: (number: number) => number,
): ChainView => {
  const placesIn = (from: number, to: number): readonly BlockPlace[] =>
    Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => {
      const number = from + index;
      return { number, branch: branchOf(lineage, number), timestamp: timestampOf(number) };
    });
  return {
    head: lineage.length === 0 ? null : lineage.length - 1,
    hashOf: (number) => hashOf(lineage, number),
    parentHashOf: (number) => hashOf(lineage, number - 1),
    timestampOf,
    rowsIn: (table, from, to) => {
      const { rowsOf: count } = rowsOf(tables, table);
      return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => count(from + index)).reduce(
        (sum, rows) => sum + rows,
        0,
      );
    },
    batch: (table, from, to) => rowsOf(tables, table).batch(lineage, placesIn(from, to)),
  };
};

/** A chain made from `options`. Blocks are made again whenever asked for; only their hashes are kept. */
export const createChain = (options: ChainOptions = {}): SimulatedChain => {
  const { seed = 1, network = 'devnet', genesisTime = DEFAULT_GENESIS_TIME, blockSeconds = 12 } = options;
  const words = seedWords(`pgstrata devnet ${network} ${seed}`);
  const hashSeed = new Uint8Array(words.buffer);
  const tables = createTables(options, words);
  const orphanage = createOrphanage();
  const { subscribe, fire } = createSignal();
  const timestampOf = (number: number): number => genesisTime + number * blockSeconds;
  let lineage = extend(EMPTY_LINEAGE, hashSeed, options.blocks ?? 0);
  let branches = 1;
  return {
    network,
    earliest: 0,
    tables: TABLES,
    view: () => viewOf(lineage, tables, timestampOf),
    commonAncestor: (hash) =>
      options.remembersForks === false ? null : orphanage.commonAncestor(lineage, hash.toLowerCase()),
    subscribe,
    advance: (blocks) => {
      lineage = extend(lineage, hashSeed, blocks);
      fire();
    },
    reorg: (depth, newBlocks) => {
      if (!Number.isInteger(depth) || depth < 1 || depth > lineage.length) {
        throw new WarehouseError('usage', `A reorg cannot drop ${depth} of ${lineage.length} blocks.`);
      }
      orphanage.remember(lineage, depth);
      lineage = extend(forkOff(lineage, depth, branches), hashSeed, newBlocks);
      branches += 1;
      fire();
    },
  };
};
