/** The simulated transfers: any block's rows from seed, branch and number alone, at millions of rows a second. */
import type { RecordBatch } from 'apache-arrow';
import { ADDRESS_BYTES, HASH_BYTES, batchOf, column, schemaOf, types } from './columns.ts';
import { createZipf } from './random.ts';
import type { Random } from './random.ts';

/** How busy a chain is. */
export interface TransferProfile {
  readonly accounts: number;
  readonly tokens: number;
  readonly transfersPerBlock: number;
}

/** A block as the generators see it. */
export interface BlockPlace {
  readonly number: number;
  readonly branch: number;
  /** Seconds since 1970. */
  readonly timestamp: number;
}

/** Schema of `transfers`; `value` is decimal text because a uint256 fits no Arrow decimal of 38 digits. */
export const TRANSFERS_SCHEMA = schemaOf({
  _block_num: types.uint64,
  block_num: types.uint64,
  timestamp: types.time,
  log_index: types.uint32,
  tx_hash: types.hash,
  token: types.address,
  from: types.address,
  to: types.address,
  value: types.text,
});

/** Accounts that block 0 endows with every token, and that nearly all transfers come from. */
const FUNDED_ACCOUNTS = 256;
/** One transfer in this many comes from an account that nobody endowed. */
const UNFUNDED_ONE_IN = 16;
/** One transfer in this many is a mint, as many are burns, as many go to their own sender, as many are of nothing. */
const ODD_ONE_IN = 64;
/** Amounts have up to this many digits: ten tokens of 18 decimals, and far above 2^64. */
const AMOUNT_DIGITS = 22;
/** The endowment, 10^27: large enough that few balances turn negative. */
const ENDOWMENT = `1${'0'.repeat(27)}`;
/** 2^255: the whale token's amounts begin with its first 40 digits, hence lie close to it and fit a uint256. */
const WHALE = (2n ** 255n).toString();
const WHALE_PREFIX_DIGITS = 40;

const SALT = 1;
const ADDRESS_WORDS = ADDRESS_BYTES / 4;
const HASH_WORDS = HASH_BYTES / 4;
const ZERO_DIGIT = 48;
const NANOSECONDS = 1_000_000_000n;

/** Produces the rows of `transfers`. */
export interface TransferGenerator {
  /** Rows in one block. */
  readonly rowsOf: (block: number) => number;
  readonly batch: (blocks: readonly BlockPlace[]) => RecordBatch;
}

const createBook = (count: number, random: Random, salt: number): Uint32Array => {
  random.seek(0, 0, salt);
  return Uint32Array.from({ length: count * ADDRESS_WORDS }, random.next);
};

/** Columns under construction. */
const allocate = (rows: number) => ({
  numbers: new BigUint64Array(rows),
  times: new BigInt64Array(rows),
  logIndexes: new Uint32Array(rows),
  txHashes: new Uint32Array(rows * HASH_WORDS),
  tokens: new Uint32Array(rows * ADDRESS_WORDS),
  from: new Uint32Array(rows * ADDRESS_WORDS),
  to: new Uint32Array(rows * ADDRESS_WORDS),
  offsets: new Int32Array(rows + 1),
  values: new Uint8Array(rows * WHALE.length),
});

type Columns = ReturnType<typeof allocate>;

const bytesOf = (words: Uint32Array): Uint8Array =>
  new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

const finish = (columns: Columns): RecordBatch =>
  batchOf(TRANSFERS_SCHEMA, columns.numbers.length, [
    column.uint64(columns.numbers),
    column.uint64(columns.numbers),
    column.time(columns.times),
    column.uint32(columns.logIndexes),
    column.hash(bytesOf(columns.txHashes)),
    column.address(bytesOf(columns.tokens)),
    column.address(bytesOf(columns.from)),
    column.address(bytesOf(columns.to)),
    column.text(columns.offsets, columns.values.subarray(0, columns.offsets.at(-1) ?? 0)),
  ]);

/** Writes one group of decimal digits, leading zeros included, and returns where it ends. */
const writeGroup = (target: Uint8Array, start: number, digits: number, value: number): number => {
  let rest = value;
  for (let position = start + digits - 1; position >= start; position -= 1) {
    const quotient = Math.floor(rest / 10);
    target[position] = ZERO_DIGIT + (rest - quotient * 10);
    rest = quotient;
  }
  return start + digits;
};

const GROUP_DIGITS = 9;
const POWERS = Float64Array.from({ length: GROUP_DIGITS + 1 }, (_, exponent) => 10 ** exponent);

/** Writes `digits` random decimal digits, the first of them not zero unless it continues a number. */
const writeDigits = (
  target: Uint8Array,
  start: number,
  digits: number,
  next: () => number,
  continues: boolean,
): number => {
  let position = start;
  let left = digits;
  while (left > 0) {
    const size = Math.min(left, GROUP_DIGITS);
    const whole = POWERS[size] ?? 1;
    const least = left === digits && !continues ? whole / 10 : 0;
    position = writeGroup(target, position, size, least + (next() % (whole - least)));
    left -= size;
  }
  return position;
};

const writeText = (target: Uint8Array, start: number, text: string): number => {
  for (let index = 0; index < text.length; index += 1) target[start + index] = text.charCodeAt(index);
  return start + text.length;
};

const copyAddress = (target: Uint32Array, row: number, book: Uint32Array, entry: number): void => {
  for (let word = 0; word < ADDRESS_WORDS; word += 1) {
    target[row * ADDRESS_WORDS + word] = book[entry * ADDRESS_WORDS + word] ?? 0;
  }
};

/** A generator for one chain. The zero address is what stays unwritten: entry -1. */
export const createTransferGenerator = (profile: TransferProfile, random: Random): TransferGenerator => {
  const { accounts, tokens, transfersPerBlock } = profile;
  const funded = Math.min(accounts, FUNDED_ACCOUNTS);
  const accountBook = createBook(accounts, random, 101);
  const tokenBook = createBook(tokens, random, 102);
  const { next } = random;
  const anyAccount = createZipf(accounts, next);
  const fundedAccount = createZipf(funded, next);
  const anyToken = createZipf(tokens, next);
  const whale = tokens > 1 ? tokens - 1 : -1;
  const rowsOf = (block: number): number => (block === 0 ? funded * tokens : transfersPerBlock);

  const writeAmount = (columns: Columns, start: number, token: number): number => {
    if (token === whale) {
      const position = writeText(columns.values, start, WHALE.slice(0, WHALE_PREFIX_DIGITS));
      return writeDigits(columns.values, position, WHALE.length - WHALE_PREFIX_DIGITS, next, true);
    }
    if (next() % ODD_ONE_IN === 0) return writeText(columns.values, start, '0');
    return writeDigits(columns.values, start, 1 + (next() % AMOUNT_DIGITS), next, false);
  };

  const writeParties = (columns: Columns, row: number): void => {
    const sender = next() % UNFUNDED_ONE_IN === 0 ? anyAccount() : fundedAccount();
    const receiver = anyAccount();
    const odd = next() % ODD_ONE_IN;
    if (odd !== 0) copyAddress(columns.from, row, accountBook, sender);
    if (odd !== 1) copyAddress(columns.to, row, accountBook, odd === 2 ? sender : receiver);
  };

  const writeTransfer = (columns: Columns, row: number): void => {
    const token = anyToken();
    copyAddress(columns.tokens, row, tokenBook, token);
    writeParties(columns, row);
    columns.offsets[row + 1] = writeAmount(columns, columns.offsets[row] ?? 0, token);
  };

  const writeMint = (columns: Columns, row: number, index: number): void => {
    const token = index % tokens;
    copyAddress(columns.tokens, row, tokenBook, token);
    copyAddress(columns.to, row, accountBook, Math.floor(index / tokens));
    columns.offsets[row + 1] = writeText(
      columns.values,
      columns.offsets[row] ?? 0,
      token === whale ? WHALE : ENDOWMENT,
    );
  };

  const writeBlock = (columns: Columns, first: number, { number, branch, timestamp }: BlockPlace): number => {
    const end = first + rowsOf(number);
    random.seek(branch, number, SALT);
    columns.numbers.fill(BigInt(number), first, end);
    columns.times.fill(BigInt(timestamp) * NANOSECONDS, first, end);
    for (let row = first; row < end; row += 1) {
      columns.logIndexes[row] = row - first;
      for (let word = 0; word < HASH_WORDS; word += 1) columns.txHashes[row * HASH_WORDS + word] = next();
      if (number === 0) writeMint(columns, row, row - first);
      else writeTransfer(columns, row);
    }
    return end;
  };

  return {
    rowsOf,
    batch: (blocks) => {
      const columns = allocate(blocks.reduce((rows, { number }) => rows + rowsOf(number), 0));
      let row = 0;
      for (const block of blocks) row = writeBlock(columns, row, block);
      return finish(columns);
    },
  };
};
