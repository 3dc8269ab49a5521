/** Benchmark of the COPY encoder alone: mixed columns to frames, and balance changes sorted and framed. */
import {
  Bool,
  Decimal,
  FixedSizeBinary,
  Float64,
  Int32,
  Int64,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  TimestampNanosecond,
  Utf8,
  Field,
} from 'apache-arrow';
import type { Data } from 'apache-arrow';
import type { ChangeBuffer } from '../../src/arrow/changes.ts';
import { createChangeBuffer } from '../../src/arrow/changes.ts';
import type { CopyColumn } from '../../src/arrow/copy.ts';
import { createCopyEncoder } from '../../src/arrow/copy.ts';
import { createLeafOf } from '../../src/arrow/hash-leaf.ts';
import { writeSafeInteger } from '../../src/arrow/numeric.ts';
import { defaultPgType } from '../../src/arrow/types.ts';

/** One measured figure. */
export interface EncodeResult {
  readonly bench: 'encode';
  readonly case: string;
  readonly value: number;
  readonly unit: 'rows/s';
  readonly reference: number | null;
  readonly ratio: number | null;
}

const ROWS = 65_536;

/** A small generator of the same numbers every time. */
const randomBytes = (length: number, seed: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
};

const textColumn = (): Data<Utf8> => {
  const texts = Array.from({ length: ROWS }, (_, row) => `token-${row % 977}`);
  const valueOffsets = new Int32Array(ROWS + 1);
  for (let row = 0; row < ROWS; row++) valueOffsets[row + 1] = valueOffsets[row]! + texts[row]!.length;
  return makeData({ type: new Utf8(), length: ROWS, valueOffsets, data: Buffer.from(texts.join('')) });
};

/** Amounts of up to 80 bits, half of them negative, as wei amounts are. */
const amounts = (): Data<Decimal> => {
  const words = new Uint32Array(randomBytes(ROWS * 16, 7).buffer);
  for (let row = 0; row < ROWS; row++) {
    const below = (words[row * 4]! & 1) === 1;
    words[row * 4 + 2] = below ? words[row * 4 + 2]! | 0xffff_0000 : words[row * 4 + 2]! & 0xffff;
    words[row * 4 + 3] = below ? 0xffff_ffff : 0;
  }
  return makeData({ type: new Decimal(18, 38), length: ROWS, data: words });
};

const timestamps = (): Data<TimestampNanosecond> => {
  const data = BigInt64Array.from(
    { length: ROWS },
    (_, row) => 1_760_000_000_000_000_000n + BigInt(row) * 12_000_000_123n,
  );
  return makeData({ type: new TimestampNanosecond('UTC'), length: ROWS, data });
};

const mixedColumns = (): Readonly<Record<string, Data>> => ({
  block_num: makeData({
    type: new Int64(),
    length: ROWS,
    data: BigInt64Array.from({ length: ROWS }, (_, row) => BigInt(20_000_000 + row)),
  }),
  block_time: timestamps(),
  account: makeData({ type: new FixedSizeBinary(20), length: ROWS, data: randomBytes(ROWS * 20, 1) }),
  amount: amounts(),
  symbol: textColumn(),
  success: makeData({ type: new Bool(), length: ROWS, data: randomBytes(ROWS / 8, 3) }),
  price: makeData({
    type: new Float64(),
    length: ROWS,
    data: Float64Array.from({ length: ROWS }, Math.sqrt),
  }),
  log_index: makeData({
    type: new Int32(),
    length: ROWS,
    data: new Int32Array(randomBytes(ROWS * 4, 4).buffer),
    nullBitmap: randomBytes(ROWS / 8, 5),
  }),
});

const batchOf = (columns: Readonly<Record<string, Data>>): RecordBatch => {
  const fields = Object.entries(columns).map(([name, { type }]) => new Field(name, type, true));
  const data = makeData({ type: new Struct(fields), length: ROWS, children: Object.values(columns) });
  return new RecordBatch(new Schema(fields), data);
};

/** Runs `work`, which handles `rows` rows, for about a second after a warm-up; returns rows per second. */
const measure = (rows: number, work: () => void): number => {
  for (let round = 0; round < 5; round++) work();
  const start = performance.now();
  let done = 0;
  while (performance.now() - start < 1000) {
    work();
    done += rows;
  }
  return Math.round((done / (performance.now() - start)) * 1000);
};

/** There is no other encoder to hold it against: the server's own limit is in the bench of the load. */
const result = (name: string, value: number): EncodeResult => ({
  bench: 'encode',
  case: name,
  value,
  unit: 'rows/s',
  reference: null,
  ratio: null,
});

const drain = (frames: Iterable<Buffer>): number => {
  let bytes = 0;
  for (const frame of frames) bytes += frame.length;
  return bytes;
};

const encodeMixed = (): number => {
  const batch = batchOf(mixedColumns());
  const columns = batch.schema.fields.map((field): CopyColumn => ({
    name: field.name,
    source: field.name,
    pgType: defaultPgType(field),
    nullable: true,
  }));
  const encoder = createCopyEncoder(batch.schema, { columns });
  return measure(ROWS, () => drain(encoder.encode(batch)));
};

const CHANGES = 200_000;

/** Half as many accounts as changes, ten assets, blocks of 200 changes: an hour of a busy chain. */
const fillChanges = (buffer: ChangeBuffer, accounts: Uint8Array, delta: Uint8Array): void => {
  buffer.clear();
  for (let change = 0; change < CHANGES; change++) {
    const account = (Math.imul(change, 2_654_435_761) >>> 0) % (CHANGES / 2);
    const block = Math.floor(change / 200);
    const time = 820_000_000_000_000 + block * 12_000_000;
    buffer.append(
      accounts,
      account * 20,
      account * 20 + 20,
      change % 10,
      7,
      time,
      block,
      change % 200,
      delta,
      0,
      delta.length,
    );
  }
};

const encodeChanges = (): number => {
  const buffer = createChangeBuffer({ leafOf: createLeafOf(4) });
  const accounts = randomBytes(CHANGES * 10, 11);
  // 1234567.89 · 10^18, as a numeric: a typical amount.
  const delta = new Uint8Array(24);
  const end = writeSafeInteger(1_234_567_890_123, false, new DataView(delta.buffer), 0);
  return measure(CHANGES, () => {
    fillChanges(buffer, accounts, delta.subarray(0, end));
    drain(buffer.frames(1));
  });
};

/** Measures the encoder on one thread, without network or server. */
export async function* encodeBench(): AsyncGenerator<EncodeResult> {
  yield result('eight mixed columns', encodeMixed());
  yield result('balance changes: append, sort, encode', encodeChanges());
}
