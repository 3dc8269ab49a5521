/** Serves recorded blocks: the JSONL files of a directory as a chain with their real hashes and exact integers. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Data, RecordBatch, Schema } from 'apache-arrow';
import { WarehouseError, messageOf } from '../runtime/errors.ts';
import { batchOf, column, schemaOf, types, validityOf } from './columns.ts';
import { REPLAY_TABLES } from './replay-tables.ts';
import type { ReplayColumn, ReplayKind, ReplayTable } from './replay-tables.ts';
import { createSignal } from './source.ts';
import type { Chain, ChainView } from './source.ts';

/** A recorded chain; its blocks appear one after the other when not all are there from the beginning. */
export interface ReplayChain extends Chain {
  /** Number of blocks recorded. */
  readonly recorded: number;
  /** Makes up to `blocks` more of the recorded blocks visible. */
  readonly advance: (blocks: number) => void;
}

/** How recorded blocks are replayed. */
export interface ReplayOptions {
  /** Default `mainnet`. */
  readonly network?: string | undefined;
  /** Blocks visible from the beginning; default all. */
  readonly blocks?: number | undefined;
}

type Row = Readonly<Record<string, unknown>>;

/** `JSON.parse` hands the reviver the number as it is written (ES2026), so that integers above 2^53 stay exact. */
type Reviver = (key: string, value: unknown, context?: { readonly source?: string }) => unknown;

const exactly: Reviver = (_key, value, context) => {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  if (context?.source === undefined) {
    throw new WarehouseError(
      'data',
      `${value} has lost digits: this Node cannot read large integers from JSON.`,
      {
        remedy: 'Run Node 22 or later.',
      },
    );
  }
  return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
};

/** JSON with integers beyond 2^53 as bigint. */
export const parseExactly = (text: string): unknown => JSON.parse(text, exactly);

const faulty = (file: string, line: number, what: string): WarehouseError =>
  new WarehouseError('data', `The recorded blocks cannot be read: ${what}`, {
    file,
    line,
    remedy: 'Record the blocks again, or correct this line.',
  });

const readRows = (file: string): readonly Row[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line, index) => {
      if (line.trim() === '') return [];
      try {
        return [Object(parseExactly(line)) as Row];
      } catch (error) {
        throw faulty(file, index + 1, messageOf(error));
      }
    });

const bytesOf = (value: unknown, length: number | null): Uint8Array => {
  const bytes =
    typeof value === 'string' && /^0x([0-9a-f]{2})*$/i.test(value)
      ? Buffer.from(value.slice(2), 'hex')
      : null;
  if (bytes === null || (length !== null && bytes.length !== length)) {
    throw new WarehouseError('data', `${String(value)} is not ${length ?? 'any'} bytes of hex.`);
  }
  return bytes;
};

const integerOf = (value: unknown): bigint => {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  throw new WarehouseError('data', `${String(value)} is not an integer.`);
};

const joined = (
  parts: readonly Uint8Array[],
): { readonly offsets: Int32Array; readonly bytes: Uint8Array } => {
  const offsets = new Int32Array(parts.length + 1);
  for (const [index, part] of parts.entries()) offsets[index + 1] = (offsets[index] ?? 0) + part.length;
  return { offsets, bytes: Buffer.concat(parts) };
};

const EMPTY = new Uint8Array(0);
const NANOSECONDS = 1_000_000_000n;

/** Values of one column, nulls among them; `valid` is absent for columns that may not have any. */
interface Values {
  readonly values: readonly unknown[];
  readonly valid: Uint8Array | undefined;
}

const variable = ({ values }: Values, toBytes: (value: unknown) => Uint8Array) =>
  joined(values.map((value) => (value === null ? EMPTY : toBytes(value))));

const fixed = ({ values }: Values, length: number): Uint8Array =>
  Buffer.concat(values.map((value) => (value === null ? new Uint8Array(length) : bytesOf(value, length))));

const textBytes = (value: unknown): Uint8Array => Buffer.from(String(value), 'utf8');

const hashesOf = ({ values }: Values): Data => {
  const lists = values.map((value) => (Array.isArray(value) ? value.map((item) => bytesOf(item, 32)) : []));
  const offsets = new Int32Array(lists.length + 1);
  for (const [index, list] of lists.entries()) offsets[index + 1] = (offsets[index] ?? 0) + list.length;
  return column.hashes(offsets, column.hash(Buffer.concat(lists.flat())));
};

const KINDS: Readonly<
  Record<ReplayKind, { readonly type: Data['type']; readonly build: (values: Values) => Data }>
> = {
  uint64: {
    type: types.uint64,
    build: ({ values }) => column.uint64(BigUint64Array.from(values, integerOf)),
  },
  uint32: {
    type: types.uint32,
    build: ({ values }) => column.uint32(Uint32Array.from(values, (value) => Number(integerOf(value)))),
  },
  time: {
    type: types.time,
    build: ({ values }) => column.time(BigInt64Array.from(values, (value) => integerOf(value) * NANOSECONDS)),
  },
  hex20: { type: types.address, build: (values) => column.address(fixed(values, 20), values.valid) },
  hex32: { type: types.hash, build: (values) => column.hash(fixed(values, 32), values.valid) },
  hex: {
    type: types.binary,
    build: (values) => {
      const { offsets, bytes } = variable(values, (value) => bytesOf(value, null));
      return column.binary(offsets, bytes, values.valid);
    },
  },
  hex32_list: { type: types.hashes, build: hashesOf },
  decimal_text: {
    type: types.text,
    build: (values) => {
      const { offsets, bytes } = variable(values, (value) => textBytes(integerOf(value)));
      return column.text(offsets, bytes, values.valid);
    },
  },
  text: {
    type: types.text,
    build: (values) => {
      const { offsets, bytes } = variable(values, textBytes);
      return column.text(offsets, bytes, values.valid);
    },
  },
};

const buildColumn = (rows: readonly Row[], { key, kind, nullable }: ReplayColumn): Data => {
  const values = rows.map((row) => row[key] ?? null);
  const valid = nullable ? validityOf(values.length, (row) => values[row] !== null) : undefined;
  return KINDS[kind].build({ values, valid });
};

const replaySchema = ({ columns }: ReplayTable): Schema =>
  schemaOf(
    Object.fromEntries(columns.map(({ name, kind }) => [name, KINDS[kind].type])),
    columns.filter(({ nullable }) => nullable).map(({ name }) => name),
  );

/** One table in memory: its rows by block. */
interface Recording {
  readonly table: ReplayTable;
  readonly schema: Schema;
  readonly rows: ReadonlyMap<number, readonly Row[]>;
}

const record = (table: ReplayTable, file: string): Recording => {
  const rows = new Map<number, Row[]>();
  for (const row of readRows(file)) {
    const block = Number(row[table.blockKey]);
    const known = rows.get(block);
    if (known === undefined) rows.set(block, [row]);
    else known.push(row);
  }
  return { table, schema: replaySchema(table), rows };
};

const rowsBetween = ({ rows }: Recording, from: number, to: number): readonly Row[] =>
  Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => rows.get(from + index) ?? []).flat();

const toBatch = (recording: Recording, from: number, to: number): RecordBatch => {
  const rows = rowsBetween(recording, from, to);
  return batchOf(
    recording.schema,
    rows.length,
    recording.table.columns.map((described) => buildColumn(rows, described)),
  );
};

const readRecordings = (directory: string): ReadonlyMap<string, Recording> => {
  const files = readdirSync(directory);
  return new Map(
    REPLAY_TABLES.flatMap((table) => {
      const file = files.find((name) => name.endsWith(`-${table.name}.jsonl`));
      return file === undefined ? [] : [[table.name, record(table, join(directory, file))] as const];
    }),
  );
};

const viewOf = (recordings: ReadonlyMap<string, Recording>, head: number | null): ChainView => {
  const find = (table: string): Recording => {
    const recording = recordings.get(table);
    if (recording === undefined) throw new WarehouseError('internal', `No ${table} were recorded.`);
    return recording;
  };
  const header = (number: number): Row => {
    const [block] = find('blocks').rows.get(number) ?? [];
    if (block === undefined) throw new WarehouseError('internal', `Block ${number} was not recorded.`);
    return block;
  };
  return {
    head,
    hashOf: (number) => String(header(number)['hash']).toLowerCase(),
    parentHashOf: (number) => String(header(number)['parent_hash']).toLowerCase(),
    timestampOf: (number) => Number(header(number)['timestamp']),
    rowsIn: (table, from, to) => rowsBetween(find(table), from, to).length,
    batch: (table, from, to) => toBatch(find(table), from, to),
  };
};

/**
 * The blocks recorded in `directory` (files `*-blocks.jsonl`, `*-token_transfers.jsonl`, `*-logs.jsonl`,
 * `*-transactions.jsonl` as blockchain-etl writes them) as a chain.
 *
 * @throws WarehouseError `data` when there are no blocks, they have gaps, or a line cannot be read.
 */
export const replayChain = (directory: string, options: ReplayOptions = {}): ReplayChain => {
  const recordings = readRecordings(directory);
  const numbers = [...(recordings.get('blocks')?.rows.keys() ?? [])].sort((left, right) => left - right);
  const [earliest] = numbers;
  if (earliest === undefined || numbers.at(-1) !== earliest + numbers.length - 1) {
    throw new WarehouseError('data', `${directory} does not hold an unbroken run of recorded blocks.`, {
      file: directory,
      remedy: 'Put a *-blocks.jsonl with consecutive blocks there.',
    });
  }
  const { subscribe, fire } = createSignal();
  let visible = Math.min(options.blocks ?? numbers.length, numbers.length);
  return {
    network: options.network ?? 'mainnet',
    earliest,
    recorded: numbers.length,
    tables: new Map(
      [...recordings].map(([name, { schema }]) => [
        name,
        { schema, blockColumns: ['_block_num', 'block_num', ...(name === 'blocks' ? ['number'] : [])] },
      ]),
    ),
    view: () => viewOf(recordings, visible === 0 ? null : earliest + visible - 1),
    commonAncestor: () => null,
    subscribe,
    advance: (blocks) => {
      visible = Math.min(visible + blocks, numbers.length);
      fire();
    },
  };
};
