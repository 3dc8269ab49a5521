/** Kinds of columns for the round trip, by the name of their Arrow type. */
import {
  Binary,
  BinaryView,
  Data,
  Dictionary,
  DurationMicrosecond,
  DurationMillisecond,
  DurationNanosecond,
  DurationSecond,
  Field,
  FixedSizeBinary,
  Float32,
  Float64,
  Int16,
  Int32,
  Int64,
  Int8,
  LargeBinary,
  LargeUtf8,
  List,
  makeData,
  Struct,
  TimeMicrosecond,
  TimeMillisecond,
  TimeNanosecond,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampNanosecond,
  TimestampSecond,
  TimeSecond,
  Uint16,
  Uint32,
  Uint64,
  Uint8,
  Utf8,
  Utf8View,
  Vector,
} from 'apache-arrow';
import fc from 'fast-check';

import type { PgType } from '../../src/arrow/types.ts';
import {
  bigintData,
  boolData,
  bytesData,
  decimalData,
  fixedBytesData,
  numberData,
  utf8,
  viewData,
} from './columns.ts';
import { kind, type Kind } from './kind.ts';
import { dates, dates64, durations, intervals, times, timestamps } from './kinds-time.ts';
import { decimalText } from './numeric-bytes.ts';

const integers = (type: Int8 | Int16 | Int32 | Uint8 | Uint16 | Uint32, pgType: PgType): Kind<unknown> => {
  const span = 2 ** type.bitWidth;
  const min = type.isSigned ? -span / 2 : 0;
  return kind<number>({
    pgType,
    draw: fc.integer({ min, max: min + span - 1 }),
    lay: (values) => numberData(type, values),
    show: 'v::text',
    expect: String,
  });
};

const bigints = (type: Int64 | Uint64, pgType: PgType, min: bigint, max: bigint): Kind<unknown> =>
  kind<bigint>({
    pgType,
    draw: fc.oneof(fc.bigInt({ min, max }), fc.integer({ min: min < 0n ? -9 : 0, max: 99_999 }).map(BigInt)),
    lay: (values) => bigintData(type, values),
    show: 'v::text',
    expect: String,
  });

const decimals = (bits: number, scale: number): Kind<unknown> =>
  kind<bigint>({
    pgType: 'numeric',
    draw: fc
      .integer({ min: 1, max: bits - 1 })
      .chain((width) => fc.bigInt({ min: -(2n ** BigInt(width)), max: 2n ** BigInt(width) - 1n })),
    lay: (values) => decimalData(bits, scale, values),
    show: 'v::text',
    expect: (value) => decimalText(value, scale),
  });

const text = fc
  .string({ unit: 'binary', maxLength: 90 })
  .map((value) => value.replaceAll('\0', '').toWellFormed());

const texts = (lay: (values: readonly (Uint8Array | null)[]) => Data): Kind<unknown> =>
  kind<string>({ pgType: 'text', draw: text, lay: (values) => lay(utf8(values)), show: 'v', expect: String });

const toHex = (value: Uint8Array): string => Buffer.from(value).toString('hex');

const binaries = (lay: (values: readonly (Uint8Array | null)[]) => Data): Kind<unknown> =>
  kind<Uint8Array>({
    pgType: 'bytea',
    draw: fc.uint8Array({ maxLength: 90 }),
    lay,
    show: "encode(v, 'hex')",
    expect: toHex,
  });

const fixed = (
  width: number,
  pgType: PgType,
  show: string,
  expected: (value: Uint8Array) => string,
): Kind<unknown> =>
  kind<Uint8Array>({
    pgType,
    draw: fc.uint8Array({ minLength: width, maxLength: width }),
    lay: (values) => fixedBytesData(new FixedSizeBinary(width), values),
    show,
    expect: expected,
  });

const amountTexts = kind<readonly [bigint, number]>({
  pgType: 'numeric',
  draw: fc.tuple(fc.bigInt({ min: -(10n ** 90n), max: 10n ** 90n }), fc.integer({ min: 0, max: 60 })),
  lay: (values) =>
    bytesData(new Utf8(), utf8(values.map((value) => (value === null ? null : decimalText(...value))))),
  show: 'v::text',
  expect: ([value, scale]) => decimalText(value, scale),
});

const floats = (type: Float32 | Float64, pgType: PgType): Kind<unknown> =>
  kind<number>({
    pgType,
    draw: type instanceof Float32 ? fc.float() : fc.double(),
    lay: (values) => numberData(type, values),
    // The sender's own bytes: the shortest text would have to be parsed again.
    show: pgType === 'real' ? "encode(float4send(v), 'hex')" : "encode(float8send(v), 'hex')",
    expect: (value) => {
      const bytes = Buffer.alloc(pgType === 'real' ? 4 : 8);
      if (pgType === 'real') bytes.writeFloatBE(value);
      else bytes.writeDoubleBE(value);
      return bytes.toString('hex');
    },
  });

const booleans = kind<boolean>({
  pgType: 'boolean',
  draw: fc.boolean(),
  lay: boolData,
  show: 'v::text',
  expect: String,
});

const dictionaries = kind<string>({
  pgType: 'text',
  draw: fc.constantFrom('', 'a', 'Ünïcödé', 'long'.repeat(30)),
  lay: (values) => {
    const words = [...new Set(values.filter((value) => value !== null))];
    const half = words.length >> 1;
    const dictionary = new Vector(
      [words.slice(0, half), words.slice(half)].map((part) => bytesData(new Utf8(), utf8(part))),
    );
    const indices = numberData(
      new Int32(),
      values.map((value) => (value === null ? null : words.indexOf(value))),
    );
    return makeData({
      type: new Dictionary(new Utf8(), new Int32(), 5),
      length: values.length,
      data: indices.values as Int32Array,
      nullBitmap: indices.nullBitmap,
      nullCount: indices.nullCount,
      dictionary: dictionary as never,
    });
  },
  show: 'v',
  expect: String,
});

type Nested = readonly {
  readonly n: bigint | null;
  readonly d: bigint;
  readonly t: string;
  readonly f: number;
}[];

const nested = kind<Nested>({
  pgType: 'jsonb',
  draw: fc.array(
    fc.record({
      n: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
      d: fc.bigInt({ min: -(10n ** 37n), max: 10n ** 37n }),
      t: text,
      f: fc.double(),
    }),
    { maxLength: 4 },
  ),
  lay: (values) => {
    const items = values.flatMap((value) => value ?? []);
    const columns = {
      n: bigintData(
        new Int64(),
        items.map(({ n }) => n),
      ),
      d: decimalData(
        128,
        5,
        items.map(({ d }) => d),
      ),
      t: bytesData(new LargeUtf8(), utf8(items.map(({ t }) => t))),
      f: numberData(
        new Float64(),
        items.map(({ f }) => f),
      ),
    };
    const fields = Object.entries(columns).map(([name, { type }]) => new Field(name, type, true));
    const child = makeData({
      type: new Struct(fields),
      length: items.length,
      children: Object.values(columns),
    });
    const ends = [0];
    for (const value of values) ends.push(ends.at(-1)! + (value?.length ?? 0));
    const bitmap = boolData(values.map((value) => value !== null)).values as Uint8Array;
    const type = new List(new Field('item', child.type, true));
    return new Data(type, 0, values.length, -1, [Int32Array.from(ends), undefined, bitmap] as never, [child]);
  },
  show: 'v::text',
  expect: (value) =>
    `[${value
      .map(({ n, d, t, f }) => {
        const float = Number.isFinite(f) ? JSON.stringify(f) : JSON.stringify(String(f));
        return `{"n":${n === null ? 'null' : n},"d":${decimalText(d, 5)},"t":${JSON.stringify(t)},"f":${float}}`;
      })
      .join(',')}]`,
});

/** Every type of the table, by name. */
export const KINDS: Readonly<Record<string, Kind<unknown>>> = {
  Bool: booleans,
  Int8: integers(new Int8(), 'smallint'),
  Int16: integers(new Int16(), 'smallint'),
  Int32: integers(new Int32(), 'integer'),
  Int64: bigints(new Int64(), 'bigint', -(2n ** 63n), 2n ** 63n - 1n),
  UInt8: integers(new Uint8(), 'smallint'),
  UInt16: integers(new Uint16(), 'integer'),
  UInt32: integers(new Uint32(), 'bigint'),
  UInt64: bigints(new Uint64(), 'numeric', 0n, 2n ** 64n - 1n),
  'Int32 to bigint': integers(new Int32(), 'bigint'),
  'Int32 to numeric': integers(new Int32(), 'numeric'),
  'Int64 to numeric': bigints(new Int64(), 'numeric', -(2n ** 63n), 2n ** 63n - 1n),
  'Int64 to integer': bigints(new Int64(), 'integer', -(2n ** 31n), 2n ** 31n - 1n),
  'UInt64 to bigint': bigints(new Uint64(), 'bigint', 0n, 2n ** 63n - 1n),
  Float32: floats(new Float32(), 'real'),
  'Float32 to double precision': floats(new Float32(), 'double precision'),
  Float64: floats(new Float64(), 'double precision'),
  'Decimal 32, scale 2': decimals(32, 2),
  'Decimal 64, scale 9': decimals(64, 9),
  'Decimal 128, scale 0': decimals(128, 0),
  'Decimal 128, scale 18': decimals(128, 18),
  'Decimal 128, scale 38': decimals(128, 38),
  'Decimal 128, scale −5': decimals(128, -5),
  'Decimal 256, scale 0': decimals(256, 0),
  'Decimal 256, scale 18': decimals(256, 18),
  Utf8: texts((values) => bytesData(new Utf8(), values)),
  LargeUtf8: texts((values) => bytesData(new LargeUtf8(), values)),
  Utf8View: texts((values) => viewData(new Utf8View(), values)),
  'Utf8 to numeric': amountTexts,
  Binary: binaries((values) => bytesData(new Binary(), values)),
  LargeBinary: binaries((values) => bytesData(new LargeBinary(), values)),
  BinaryView: binaries((values) => viewData(new BinaryView(), values)),
  'FixedSizeBinary 20': fixed(20, 'bytea', "encode(v, 'hex')", toHex),
  'FixedSizeBinary 32 to numeric': fixed(32, 'numeric', 'v::text', (value) =>
    String(BigInt(`0x${toHex(value)}`)),
  ),
  'FixedSizeBinary 3 to numeric': fixed(3, 'numeric', 'v::text', (value) =>
    String(BigInt(`0x${toHex(value)}`)),
  ),
  'FixedSizeBinary 20 to text': fixed(20, 'text', 'v', (value) => `0x${toHex(value)}`),
  Date32: dates,
  Date64: dates64,
  'Time32 s': times(new TimeSecond(), 1n),
  'Time32 ms': times(new TimeMillisecond(), 1000n),
  'Time64 µs': times(new TimeMicrosecond(), 1_000_000n),
  'Time64 ns': times(new TimeNanosecond(), 1_000_000_000n),
  'Timestamp s': timestamps(new TimestampSecond(), 1n),
  'Timestamp ms': timestamps(new TimestampMillisecond(), 1000n),
  'Timestamp µs': timestamps(new TimestampMicrosecond(), 1_000_000n),
  'Timestamp ns': timestamps(new TimestampNanosecond(), 1_000_000_000n),
  'Timestamp s, zone': timestamps(new TimestampSecond('UTC'), 1n),
  'Timestamp ms, zone': timestamps(new TimestampMillisecond('Europe/Berlin'), 1000n),
  'Timestamp µs, zone': timestamps(new TimestampMicrosecond('UTC'), 1_000_000n),
  'Timestamp ns, zone': timestamps(new TimestampNanosecond('UTC'), 1_000_000_000n),
  'Duration s': durations(new DurationSecond(), 1n),
  'Duration ms': durations(new DurationMillisecond(), 1000n),
  'Duration µs': durations(new DurationMicrosecond(), 1_000_000n),
  'Duration ns': durations(new DurationNanosecond(), 1_000_000_000n),
  Interval: intervals,
  Dictionary: dictionaries,
  'List of Struct': nested,
};
