/** Plays block trees with forks, as consensus test vectors have them: a chain that switches branches as blocks arrive. */
import { readFileSync } from 'node:fs';
import type { RecordBatch } from 'apache-arrow';
import { WarehouseError } from '../runtime/errors.ts';
import { batchOf, column, schemaOf, types } from './columns.ts';
import { createSignal } from './source.ts';
import type { Chain, ChainView } from './source.ts';

/** One movement of value: its kind, from whom and to whom (null for nobody), decimal digits. */
type Leg = readonly [kind: string, from: string | null, to: string | null, amount: string];

interface TreeBlock {
  readonly hash: string;
  readonly parent: string;
  readonly number: number;
  /** Seconds since 1970. */
  readonly timestamp: number;
  readonly legs: readonly Leg[];
}

/** Blocks in the order in which they arrived, orphans included, and the balances the last branch ends in. */
export interface BlockTree {
  readonly name: string;
  readonly network: string;
  /** Balance by account before the first block. */
  readonly genesis: Readonly<Record<string, string>>;
  readonly blocks: readonly TreeBlock[];
  readonly head: string;
  /** Balance by account after the last block; accounts not listed have nothing. */
  readonly expected: Readonly<Record<string, string>>;
}

/** A chain that grows and forks as a tree's blocks arrive. Table: `legs`. */
export interface TreeChain extends Chain {
  /** Takes the tree's next block, which may be an orphan; false when all have arrived. */
  readonly arrive: () => boolean;
}

/** Schema of `legs`: transfers of one asset. */
const LEGS_SCHEMA = schemaOf({
  _block_num: types.uint64,
  block_num: types.uint64,
  timestamp: types.time,
  log_index: types.uint32,
  token: types.address,
  kind: types.text,
  from: types.address,
  to: types.address,
  value: types.text,
});

/** Who pays rewards and gets what is burnt. Not the zero address, which earns rewards of its own in these trees. */
export const NOBODY = `0x${'f'.repeat(40)}`;
/** The coin that all legs move; it has no contract of its own. */
const COIN = `0x${'e'.repeat(40)}`;
const NANOSECONDS = 1_000_000_000n;

/**
 * The trees in a JSON file. Amounts are strings there, hence exact.
 *
 * @throws WarehouseError `data` for a file of another form
 */
export const readTrees = (file: string): readonly BlockTree[] => {
  const trees: unknown = JSON.parse(readFileSync(file, 'utf8'));
  const isTree = (tree: unknown): boolean => {
    const { genesis, blocks, head, expected }: Partial<BlockTree> = Object(tree);
    return (
      Array.isArray(blocks) &&
      typeof head === 'string' &&
      Object(genesis) === genesis &&
      Object(expected) === expected
    );
  };
  if (Array.isArray(trees) && trees.every(isTree)) return trees as readonly BlockTree[];
  throw new WarehouseError('data', 'The file is not a list of block trees.', {
    file,
    remedy: 'Give a list of {name, network, genesis, blocks, head, expected}.',
  });
};

const addresses = (values: readonly (string | null)[]): Uint8Array =>
  Buffer.concat(values.map((value) => Buffer.from((value ?? NOBODY).slice(2), 'hex')));

const texts = (values: readonly string[]) => {
  const parts = values.map((value) => Buffer.from(value));
  const offsets = new Int32Array(parts.length + 1);
  for (const [index, part] of parts.entries()) offsets[index + 1] = (offsets[index] ?? 0) + part.length;
  return column.text(offsets, Buffer.concat(parts));
};

const legsBatch = (blocks: readonly TreeBlock[]): RecordBatch => {
  const rows = blocks.flatMap((block) => block.legs.map((leg, index) => ({ block, leg, index })));
  const numbers = BigUint64Array.from(rows, ({ block }) => BigInt(block.number));
  return batchOf(LEGS_SCHEMA, rows.length, [
    column.uint64(numbers),
    column.uint64(numbers),
    column.time(BigInt64Array.from(rows, ({ block }) => BigInt(block.timestamp) * NANOSECONDS)),
    column.uint32(Uint32Array.from(rows, ({ index }) => index)),
    column.address(addresses(rows.map(() => COIN))),
    texts(rows.map(({ leg }) => leg[0])),
    column.address(addresses(rows.map(({ leg }) => leg[1]))),
    column.address(addresses(rows.map(({ leg }) => leg[2]))),
    texts(rows.map(({ leg }) => leg[3])),
  ]);
};

/** Block 0, which every tree leaves out: the genesis balances as mints. */
const genesisBlock = ({ genesis, blocks }: BlockTree): TreeBlock => {
  const [first] = blocks;
  if (first === undefined) throw new WarehouseError('data', 'The block tree has no blocks.');
  const legs = Object.entries(genesis).map(([account, amount]): Leg => ['genesis', null, account, amount]);
  return {
    hash: first.parent,
    parent: `0x${'0'.repeat(64)}`,
    number: first.number - 1,
    timestamp: first.timestamp - 1,
    legs,
  };
};

type ByHash = ReadonlyMap<string, TreeBlock>;

/** The block before; none before the genesis, which some made-up trees call its own parent. */
const parentOf = (known: ByHash, block: TreeBlock): TreeBlock | undefined =>
  block.parent === block.hash ? undefined : known.get(block.parent);

/** The blocks from the first to `tip`. */
const branchTo = (known: ByHash, tip: TreeBlock): readonly TreeBlock[] => {
  const branch: TreeBlock[] = [];
  for (let block: TreeBlock | undefined = tip; block !== undefined; block = parentOf(known, block))
    branch.push(block);
  return branch.toReversed();
};

const viewOf = (chain: readonly TreeBlock[]): ChainView => {
  const [first] = chain;
  const earliest = first?.number ?? 0;
  const at = (number: number): TreeBlock => {
    const block = chain[number - earliest];
    if (block === undefined)
      throw new WarehouseError('internal', `The block tree has no block ${number} here.`);
    return block;
  };
  const within = (from: number, to: number): readonly TreeBlock[] =>
    chain.filter(({ number }) => number >= from && number <= to);
  return {
    head: chain.at(-1)?.number ?? null,
    hashOf: (number) => at(number).hash,
    parentHashOf: (number) => at(number).parent,
    timestampOf: (number) => at(number).timestamp,
    rowsIn: (_table, from, to) => within(from, to).reduce((rows, { legs }) => rows + legs.length, 0),
    batch: (_table, from, to) => legsBatch(within(from, to)),
  };
};

/**
 * A chain that plays `tree` from its genesis. An arriving block becomes the head when it is at least as high as the
 * head; with the last one the tree's own head does, whatever its height.
 *
 * @throws WarehouseError `data` for a tree without blocks.
 */
export const treeChain = (tree: BlockTree): TreeChain => {
  const genesis = genesisBlock(tree);
  const all: ByHash = new Map([genesis, ...tree.blocks].map((block) => [block.hash, block]));
  const goal = all.get(tree.head) ?? genesis;
  const { subscribe, fire } = createSignal();
  const waiting = [...tree.blocks];
  let tip = genesis;
  const ancestorOf = (block: TreeBlock | undefined): number | null => {
    const current = new Set(branchTo(all, tip).map(({ hash }) => hash));
    let ancestor = block;
    while (ancestor !== undefined && !current.has(ancestor.hash)) ancestor = parentOf(all, ancestor);
    return ancestor?.number ?? null;
  };
  return {
    network: tree.network,
    earliest: genesis.number,
    tables: new Map([['legs', { schema: LEGS_SCHEMA, blockColumns: ['_block_num', 'block_num'] }]]),
    view: () => viewOf(branchTo(all, tip)),
    commonAncestor: (hash) => ancestorOf(all.get(hash)),
    subscribe,
    arrive: () => {
      const block = waiting.shift();
      if (block === undefined) return false;
      // Equals displace each other, so that every race between branches is a reorg; the vector's verdict comes last.
      const next = waiting.length === 0 ? goal : block;
      if (next === tip || (next !== goal && next.number < tip.number)) return true;
      tip = next;
      fire();
      return true;
    },
  };
};
