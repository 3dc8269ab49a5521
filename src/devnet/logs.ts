/** The simulated `logs`: a wide table of mixed columns with nulls, lists and decimals, for loads of any rows. */
import type { Data, FixedSizeBinary, RecordBatch } from 'apache-arrow';
import { ADDRESS_BYTES, HASH_BYTES, batchOf, column, schemaOf, types, validityOf } from './columns.ts';
import type { Random } from './random.ts';
import type { BlockPlace } from './transfers.ts';

/** Schema of `logs`. */
export const LOGS_SCHEMA = schemaOf(
  {
    _block_num: types.uint64,
    block_num: types.uint64,
    timestamp: types.time,
    log_index: types.uint32,
    address: types.address,
    topics: types.hashes,
    data: types.binary,
    removed: types.bool,
    gas_price: types.float64,
    fee: types.decimal,
    note: types.text,
  },
  ['data', 'note'],
);

const SALT = 2;
const MAX_TOPICS = 4;
const MAX_DATA_BYTES = 96;
const CONTRACTS = 64;
/** One value in this many is null. */
const NULL_ONE_IN = 5;
const NANOSECONDS = 1_000_000_000n;
/** Texts that a careless text COPY breaks. */
const NOTES = ['swap', 'say "no"', 'back\\slash', 'tab\there', 'new\nline', 'grüße, 世界', ''].map((note) =>
  Buffer.from(note),
);

/** One log before it becomes columns. */
interface Log {
  readonly block: BlockPlace;
  readonly index: number;
  readonly contract: number;
  readonly topics: Uint32Array;
  readonly data: Uint8Array | null;
  readonly removed: boolean;
  readonly gasPrice: number;
  readonly fee: Uint32Array;
  readonly note: Uint8Array | null;
}

const WORD_BYTES = 4;
const bytesOf = (words: Uint32Array): Uint8Array =>
  new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
const randomWords = (count: number, { next }: Random): Uint32Array =>
  Uint32Array.from({ length: count }, next);

const drawLog = (block: BlockPlace, index: number, random: Random): Log => {
  const { next } = random;
  const isNull = (): boolean => next() % NULL_ONE_IN === 0;
  return {
    block,
    index,
    contract: next() % CONTRACTS,
    topics: randomWords((1 + (next() % MAX_TOPICS)) * (HASH_BYTES / WORD_BYTES), random),
    data: isNull() ? null : bytesOf(randomWords(next() % (MAX_DATA_BYTES / WORD_BYTES), random)),
    removed: next() % 2 === 0,
    gasPrice: next() / 1000,
    // 96 random bits stay below 38 digits; a negative one has its high words set.
    fee:
      next() % 8 === 0
        ? Uint32Array.of(next(), next(), 0xffffffff, 0xffffffff)
        : Uint32Array.of(next(), next(), next(), 0),
    note: isNull() ? null : (NOTES[next() % NOTES.length] ?? null),
  };
};

const concat = (parts: readonly (Uint8Array | null)[]): { offsets: Int32Array; bytes: Uint8Array } => {
  const offsets = new Int32Array(parts.length + 1);
  parts.forEach((part, index) => {
    offsets[index + 1] = (offsets[index] ?? 0) + (part?.length ?? 0);
  });
  const bytes = new Uint8Array(offsets.at(-1) ?? 0);
  parts.forEach((part, index) => part !== null && bytes.set(part, offsets[index]));
  return { offsets, bytes };
};

const nullable = (
  parts: readonly (Uint8Array | null)[],
  build: (offsets: Int32Array, bytes: Uint8Array, validity: Uint8Array) => Data,
): Data => {
  const { offsets, bytes } = concat(parts);
  return build(
    offsets,
    bytes,
    validityOf(parts.length, (row) => parts[row] !== null),
  );
};

const topicsOf = (logs: readonly Log[]): Data => {
  const { offsets, bytes } = concat(logs.map(({ topics }) => bytesOf(topics)));
  const child: Data<FixedSizeBinary> = column.hash(bytes);
  return column.hashes(
    offsets.map((offset) => offset / HASH_BYTES),
    child,
  );
};

const toBatch = (logs: readonly Log[], contracts: Uint8Array): RecordBatch => {
  const numbers = BigUint64Array.from(logs, ({ block }) => BigInt(block.number));
  const addresses = logs.map(({ contract }) =>
    contracts.subarray(contract * ADDRESS_BYTES, (contract + 1) * ADDRESS_BYTES),
  );
  return batchOf(LOGS_SCHEMA, logs.length, [
    column.uint64(numbers),
    column.uint64(numbers),
    column.time(BigInt64Array.from(logs, ({ block }) => BigInt(block.timestamp) * NANOSECONDS)),
    column.uint32(Uint32Array.from(logs, ({ index }) => index)),
    column.address(concat(addresses).bytes),
    topicsOf(logs),
    nullable(
      logs.map(({ data }) => data),
      column.binary,
    ),
    column.bool(
      validityOf(logs.length, (row) => logs[row]?.removed === true),
      logs.length,
    ),
    column.float64(Float64Array.from(logs, ({ gasPrice }) => gasPrice)),
    column.decimal(Uint32Array.from(logs.flatMap(({ fee }) => [...fee]))),
    nullable(
      logs.map(({ note }) => note),
      column.text,
    ),
  ]);
};

/** Makes the rows of `logs` for some blocks, `logsPerBlock` each. */
export const createLogGenerator = (
  logsPerBlock: number,
  random: Random,
): ((blocks: readonly BlockPlace[]) => RecordBatch) => {
  random.seek(0, 0, SALT);
  const contracts = bytesOf(randomWords((CONTRACTS * ADDRESS_BYTES) / WORD_BYTES, random));
  return (blocks) => {
    const logs = blocks.flatMap((block) => {
      random.seek(block.branch, block.number, SALT);
      return Array.from({ length: logsPerBlock }, (_, index) => drawLog(block, index, random));
    });
    return toBatch(logs, contracts);
  };
};
