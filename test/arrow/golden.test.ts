/** Golden bytes: what the encoder writes for each Arrow type, compared with PostgreSQL's binary format. */
import type { Data } from 'apache-arrow';
import {
  Binary,
  BinaryView,
  DateDay,
  DateMillisecond,
  DurationNanosecond,
  DurationSecond,
  FixedSizeBinary,
  Float16,
  Float32,
  Float64,
  Int16,
  Int32,
  Int64,
  Int8,
  IntervalDayTime,
  IntervalMonthDayNano,
  IntervalYearMonth,
  LargeBinary,
  LargeUtf8,
  makeData,
  Null,
  TimeMicrosecond,
  TimeMillisecond,
  TimeNanosecond,
  TimeSecond,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampNanosecond,
  TimestampSecond,
  Uint16,
  Uint32,
  Uint64,
  Uint8,
  Utf8,
  Utf8View,
} from 'apache-arrow';
import { describe, expect, it } from 'vitest';

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
import { type RawField } from './copy-rows.ts';
import { encoded, hex, wordData } from './encoded.ts';

describe('golden bytes', () => {
  const bytes = [Uint8Array.of(0, 0xff), null, new Uint8Array(0)];
  const texts = utf8(['é', null, '']);
  const cases: readonly (readonly [string, Data, PgType | undefined, readonly RawField[]])[] = [
    ['Null', makeData({ type: new Null(), length: 2 }), undefined, [null, null]],
    ['Bool', boolData([true, false, null]), undefined, ['01', '00', null]],
    ['Int8', numberData(new Int8(), [-128, null]), undefined, ['ff80', null]],
    ['Int16', numberData(new Int16(), [-32768]), undefined, ['8000']],
    ['Int32', numberData(new Int32(), [-2]), undefined, ['fffffffe']],
    ['Int64', bigintData(new Int64(), [-2n, 2n ** 62n]), undefined, ['fffffffffffffffe', '4000000000000000']],
    ['UInt8', numberData(new Uint8(), [255]), undefined, ['00ff']],
    ['UInt16', numberData(new Uint16(), [65535]), undefined, ['0000ffff']],
    ['UInt32', numberData(new Uint32(), [2 ** 32 - 1]), undefined, ['00000000ffffffff']],
    ['UInt64', bigintData(new Uint64(), [10001n]), undefined, ['000200010000000000010001']],
    ['UInt64 to bigint', bigintData(new Uint64(), [2n ** 63n - 1n]), 'bigint', ['7fffffffffffffff']],
    ['Int64 to smallint', bigintData(new Int64(), [-5n]), 'smallint', ['fffb']],
    ['Int32 to numeric', numberData(new Int32(), [-10000]), 'numeric', ['00010001400000000001']],
    ['Float16', numberData(new Float16(), [0x3c00, 0x7c00]), undefined, ['3f800000', '7f800000']],
    ['Float32', numberData(new Float32(), [1.5]), undefined, ['3fc00000']],
    ['Float32 to double', numberData(new Float32(), [1.5]), 'double precision', ['3ff8000000000000']],
    ['Float64', numberData(new Float64(), [-0]), undefined, ['8000000000000000']],
    [
      'Decimal, scale 2',
      decimalData(128, 2, [-150n, 0n]),
      undefined,
      ['000200004000000200011388', '0000000000000002'],
    ],
    ['Decimal, scale −4', decimalData(128, -4, [3n]), undefined, ['00010001000000000003']],
    ['Utf8', bytesData(new Utf8(), texts), undefined, ['c3a9', null, '']],
    ['LargeUtf8', bytesData(new LargeUtf8(), texts), undefined, ['c3a9', null, '']],
    [
      'Utf8View',
      viewData(new Utf8View(), utf8(['short', 'longer than twelve', null])),
      undefined,
      [hex('short'), hex('longer than twelve'), null],
    ],
    ['Utf8 to numeric', bytesData(new Utf8(), utf8(['0x10'])), 'numeric', ['00010000000000000010']],
    ['Utf8 to bytea', bytesData(new Utf8(), utf8(['0xAb01', '0x'])), 'bytea', ['ab01', '']],
    ['Utf8 to jsonb', bytesData(new Utf8(), utf8(['{}'])), 'jsonb', ['017b7d']],
    ['Binary', bytesData(new Binary(), bytes), undefined, ['00ff', null, '']],
    ['LargeBinary', bytesData(new LargeBinary(), bytes), undefined, ['00ff', null, '']],
    ['BinaryView', viewData(new BinaryView(), bytes), undefined, ['00ff', null, '']],
    ['Binary to text', bytesData(new Binary(), bytes), 'text', [hex('0x00ff'), null, hex('0x')]],
    [
      'FixedSizeBinary',
      fixedBytesData(new FixedSizeBinary(2), [Uint8Array.of(1, 2), null]),
      undefined,
      ['0102', null],
    ],
    [
      'FixedSizeBinary to numeric',
      fixedBytesData(new FixedSizeBinary(2), [Uint8Array.of(0x27, 0x11)]),
      'numeric',
      ['000200010000000000010001'],
    ],
    ['Date32', numberData(new DateDay(), [0, 10957]), undefined, ['ffffd533', '00000000']],
    ['Date64', bigintData(new DateMillisecond(), [-1n]), undefined, ['ffffd532']],
    ['Time32 s', numberData(new TimeSecond(), [86400]), undefined, ['000000141dd76000']],
    ['Time32 ms', numberData(new TimeMillisecond(), [1]), undefined, ['00000000000003e8']],
    ['Time64 µs', bigintData(new TimeMicrosecond(), [1n]), undefined, ['0000000000000001']],
    ['Time64 ns', bigintData(new TimeNanosecond(), [1999n]), undefined, ['0000000000000001']],
    ['Timestamp s', bigintData(new TimestampSecond(), [946684800n]), undefined, ['0000000000000000']],
    [
      'Timestamp ms',
      bigintData(new TimestampMillisecond(), [946684799999n]),
      undefined,
      ['fffffffffffffc18'],
    ],
    [
      'Timestamp µs',
      bigintData(new TimestampMicrosecond('UTC'), [946684800000001n]),
      undefined,
      ['0000000000000001'],
    ],
    [
      'Timestamp ns floors',
      bigintData(new TimestampNanosecond('UTC'), [946684799999999999n]),
      undefined,
      ['ffffffffffffffff'],
    ],
    [
      'Timestamp ns to timestamptz',
      bigintData(new TimestampNanosecond(), [946684800000001000n]),
      'timestamptz',
      ['0000000000000001'],
    ],
    ['Duration s', bigintData(new DurationSecond(), [-1n]), undefined, ['fffffffffff0bdc00000000000000000']],
    [
      'Duration ns',
      bigintData(new DurationNanosecond(), [-1n]),
      undefined,
      ['ffffffffffffffff0000000000000000'],
    ],
    [
      'Interval months',
      wordData(new IntervalYearMonth(), [-13], 1),
      undefined,
      ['000000000000000000000000fffffff3'],
    ],
    [
      'Interval days',
      wordData(new IntervalDayTime(), [2, -1], 1),
      undefined,
      ['fffffffffffffc180000000200000000'],
    ],
    [
      'Interval months, days, ns',
      wordData(new IntervalMonthDayNano(), [1, 2, 3001, 0], 1),
      undefined,
      ['00000000000000030000000200000001'],
    ],
  ];

  it.each(cases)('%s', (_name, data, pgType, expected) => {
    expect(encoded(data, pgType)).toEqual(expected);
  });
});
