/** Tests of what the encoder refuses, and of the last values it takes. */
import type { DataType } from 'apache-arrow';
import {
  Data,
  DateDay,
  DenseUnion,
  DurationSecond,
  Field,
  FixedSizeBinary,
  Int32,
  Int64,
  List,
  Schema,
  TimeNanosecond,
  TimeSecond,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampSecond,
  Uint32,
  Uint64,
  Utf8,
  Utf8View,
} from 'apache-arrow';
import { describe, expect, it } from 'vitest';

import { createCopyEncoder } from '../../src/arrow/copy.ts';
import type { PgType } from '../../src/arrow/types.ts';
import { batchOf, bigintData, bytesData, numberData, utf8 } from './columns.ts';
import { encoded, thrownBy } from './encoded.ts';

describe('refusals', () => {
  const refused: readonly (readonly [string, Data, PgType | undefined, number])[] = [
    ['UInt64 beyond bigint', bigintData(new Uint64(), [1n, 2n ** 63n]), 'bigint', 1],
    ['Int64 beyond integer', bigintData(new Int64(), [0n, -(2n ** 31n) - 1n]), 'integer', 1],
    ['UInt64 that looks negative', bigintData(new Uint64(), [2n ** 64n - 1n]), 'smallint', 0],
    ['Int32 beyond smallint', numberData(new Int32(), [1, 2, 32_768]), 'smallint', 2],
    ['UInt32 beyond integer', numberData(new Uint32(), [2 ** 31]), 'integer', 0],
    ['text with \\0', bytesData(new Utf8(), utf8(['a', 'b\0'])), undefined, 1],
    ['long text with \\0', bytesData(new Utf8(), utf8([`${'a'.repeat(100)}\0`])), undefined, 0],
    ['text that is no UTF-8', bytesData(new Utf8(), [Uint8Array.of(0xc3)]), undefined, 0],
    ['text that is no number', bytesData(new Utf8(), utf8(['1', 'one'])), 'numeric', 1],
    ['text that is no hex', bytesData(new Utf8(), utf8(['0x0', 'one'])), 'bytea', 0],
    ['a date after the last', numberData(new DateDay(), [2_145_042_906]), undefined, 0],
    ['a date before the first', numberData(new DateDay(), [-2_440_589]), undefined, 0],
    [
      'a timestamp before the first',
      bigintData(new TimestampMicrosecond(), [-210_866_803_200_000_001n]),
      undefined,
      0,
    ],
    [
      'a timestamp after the last',
      bigintData(new TimestampMillisecond(), [9_224_318_016_000_000n]),
      undefined,
      0,
    ],
    ['a timestamp far beyond 64 bits', bigintData(new TimestampSecond(), [2n ** 63n - 1n]), undefined, 0],
    ['a negative time', numberData(new TimeSecond(), [-1]), undefined, 0],
    ['a time after midnight', bigintData(new TimeNanosecond(), [86_400_000_001_000n]), undefined, 0],
    ['a duration beyond 64 bits', bigintData(new DurationSecond(), [10n ** 13n]), undefined, 0],
  ];

  it.each(refused)('%s', (_name, data, pgType, row) => {
    expect(thrownBy(() => encoded(data, pgType))).toMatchObject({
      kind: 'data',
      detail: { column: 'c', row, value: expect.any(String) as string, remedy: expect.any(String) as string },
    });
  });

  it('the last values PostgreSQL does hold', () => {
    const int64 = (value: bigint): string => BigInt.asUintN(64, value).toString(16).padStart(16, '0');
    const dates = [2_145_042_905, -2_440_588];
    expect(encoded(numberData(new DateDay(), dates))).toEqual(['7fda970c', 'ffda97a7']);
    const first = -210_866_803_200_000_000n;
    expect(encoded(bigintData(new TimestampMicrosecond(), [first]))).toEqual([
      int64(-211_813_488_000_000_000n),
    ]);
    const last = 9_224_318_015_999_999n;
    expect(encoded(bigintData(new TimestampMillisecond(), [last]))).toEqual([
      int64(9_223_371_331_199_999_000n),
    ]);
  });

  it('a null in a column that is NOT NULL, before any frame', () => {
    const batch = batchOf({ n: numberData(new Int32(), [1, 2, null]) });
    const encoder = createCopyEncoder(batch.schema, {
      columns: [{ name: 'target', source: 'n', pgType: 'integer', nullable: false }],
    });
    expect(thrownBy(() => encoder.encode(batch).next())).toMatchObject({
      kind: 'data',
      detail: { column: 'target', row: 2 },
    });
  });

  it('a column that is missing, ambiguous, or of a type with no way to the target', () => {
    const field = (name: string, type: DataType): Field => new Field(name, type, true);
    const plan = (fields: readonly Field[], source: string, pgType: PgType): unknown =>
      thrownBy(() =>
        createCopyEncoder(new Schema([...fields]), {
          columns: [{ name: source, source, pgType, nullable: true }],
        }),
      );
    expect(plan([field('a', new Int32())], 'b', 'integer')).toMatchObject({
      kind: 'data',
      detail: { column: 'b' },
    });
    expect(plan([field('a', new Int32()), field('a', new Int32())], 'a', 'integer')).toMatchObject({
      message: /two columns/,
    });
    expect(plan([field('a', new Int64())], 'a', 'timestamptz')).toMatchObject({
      kind: 'data',
      detail: { column: 'a' },
    });
    expect(plan([field('a', new FixedSizeBinary(33))], 'a', 'numeric')).toMatchObject({ kind: 'data' });
    const union = new DenseUnion([0], [field('x', new Int32())]);
    expect(plan([field('u', union)], 'u', 'jsonb')).toMatchObject({
      kind: 'data',
      detail: { column: 'u' },
      message: /Union/,
    });
    expect(plan([field('l', new List(field('item', union)))], 'l', 'jsonb')).toMatchObject({
      detail: { column: 'l' },
    });
  });

  it('buffers that contradict each other', () => {
    const utf8Data = (offsets: readonly number[]): Data =>
      new Data(new Utf8(), 0, offsets.length - 1, 0, [Int32Array.from(offsets), new Uint8Array(4)] as never);
    const damaged = [
      utf8Data([0, 9]),
      utf8Data([-1, 2]),
      utf8Data([0, 3, 1, 4]),
      new Data(new Int32(), 0, 5, 0, [undefined, new Int32Array(4)] as never),
      new Data(new Utf8View(), 0, 1, 0, [undefined, Uint8Array.from({ length: 16 }, () => 99)] as never),
    ];
    for (const data of damaged) expect(thrownBy(() => encoded(data))).toMatchObject({ kind: 'protocol' });
  });
});
