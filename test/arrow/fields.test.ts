/** Tests of the accessors of the `transfers` load. */
import type { Data } from 'apache-arrow';
import {
  Binary,
  Dictionary,
  FixedSizeBinary,
  Float64,
  Int32,
  Int64,
  makeData,
  TimestampMicrosecond,
  TimestampNanosecond,
  TimestampSecond,
  Uint64,
  Utf8,
  Utf8View,
  Vector,
} from 'apache-arrow';
import { describe, expect, it } from 'vitest';

import { accountField, amountField, integerField, keyField, timeField } from '../../src/arrow/fields.ts';
import { useDatabase } from '../database.ts';
import {
  batchOf,
  bigintData,
  bytesData,
  decimalData,
  fixedBytesData,
  numberData,
  utf8,
  viewData,
} from './columns.ts';
import { thrownBy } from './encoded.ts';
import { numericText } from './numeric-bytes.ts';

const accountsOf = (data: Data): readonly (string | null)[] => {
  const field = accountField(batchOf({ a: data }), 'a');
  return Array.from({ length: data.length }, (_, row) => {
    if (field.isNull(row)) return null;
    field.seek(row);
    return Buffer.from(field.bytes.subarray(field.start, field.end)).toString('hex');
  });
};

const amountsOf = (data: Data, negate: boolean): readonly (string | null)[] => {
  const field = amountField(batchOf({ a: data }), 'a');
  const view = new DataView(new ArrayBuffer(1000));
  return Array.from({ length: data.length }, (_, row) => {
    if (field.isNull(row)) return null;
    const end = field.write(row, view, 0, negate);
    expect(end).toBeLessThanOrEqual(field.bound(row));
    return numericText(view, end);
  });
};

const dictionaryOf = (indices: readonly number[], ...chunks: readonly Data[]): Data =>
  makeData({
    type: new Dictionary(chunks[0]!.type, new Int32(), 2),
    length: indices.length,
    data: Int32Array.from(indices),
    dictionary: new Vector(chunks) as never,
  });

const ADDRESSES = [
  '0x00ff',
  '0xAb',
  '0x',
  '0xabc',
  '0xzz',
  '0Xab',
  'cosmos1é',
  '',
  'x',
  `0x${'12'.repeat(200)}`,
];

describe('accounts', () => {
  const database = useDatabase();

  it('follow the rule of strata.account(text)', async () => {
    const { rows } = await database.pool.query<{ account: string }>(
      "select encode(strata.account(a), 'hex') as account from unnest($1::text[]) with ordinality as given (a, n) order by n",
      [ADDRESSES],
    );
    const expected = rows.map(({ account }) => account);
    expect(accountsOf(bytesData(new Utf8(), utf8(ADDRESSES)))).toEqual(expected);
    expect(accountsOf(viewData(new Utf8View(), utf8(ADDRESSES)))).toEqual(expected);
  });

  it('binary is taken as it is, sliced and null as well', () => {
    const bytes = [Uint8Array.of(0x30, 0x78, 0x61, 0x62), null, Uint8Array.of(1, 2, 3, 4)];
    expect(accountsOf(fixedBytesData(new FixedSizeBinary(4), bytes))).toEqual(['30786162', null, '01020304']);
    expect(accountsOf(bytesData(new Binary(), bytes).slice(1, 2))).toEqual([null, '01020304']);
  });

  it('dictionaries of several chunks', () => {
    const words = [bytesData(new Utf8(), utf8(['0x01', null])), bytesData(new Utf8(), utf8(['b']))];
    expect(accountsOf(dictionaryOf([2, 0, 1, 2], ...words))).toEqual(['62', '01', null, '62']);
  });
});

it('keys follow the same rule', () => {
  const field = keyField(batchOf({ k: bytesData(new Utf8(), utf8(['0xff'])) }), 'k');
  field.seek(0);
  expect(field.bytes.subarray(field.start, field.end)).toEqual(Uint8Array.of(255));
});

describe('amounts', () => {
  it.each([
    ['Int32', numberData(new Int32(), [-5, null]), ['-5', null], ['5', null]],
    ['Int64', bigintData(new Int64(), [-(2n ** 63n)]), ['-9223372036854775808'], ['9223372036854775808']],
    [
      'UInt64',
      bigintData(new Uint64(), [2n ** 64n - 1n]),
      ['18446744073709551615'],
      ['-18446744073709551615'],
    ],
    ['Decimal', decimalData(128, 2, [150n, 0n]), ['1.50', '0.00'], ['-1.50', '0.00']],
    ['FixedSizeBinary', fixedBytesData(new FixedSizeBinary(2), [Uint8Array.of(1, 0)]), ['256'], ['-256']],
    ['Utf8', bytesData(new Utf8(), utf8(['-1.5', '0x0a'])), ['-1.5', '10'], ['1.5', '-10']],
    ['Dictionary', dictionaryOf([1, 0], bytesData(new Utf8(), utf8(['7', '8']))), ['8', '7'], ['-8', '-7']],
  ] as const)('%s', (_name, data, plain, negated) => {
    expect(amountsOf(data, false)).toEqual(plain);
    expect(amountsOf(data, true)).toEqual(negated);
  });

  it('floats are refused, and text that is no number is named with its row', () => {
    expect(thrownBy(() => amountsOf(numberData(new Float64(), [1]), false))).toMatchObject({
      kind: 'data',
      detail: { column: 'a' },
    });
    expect(thrownBy(() => amountsOf(bytesData(new Utf8(), utf8(['1', '1e18'])), false))).toMatchObject({
      kind: 'data',
      detail: { column: 'a', row: 1, value: '1e18' },
    });
  });
});

describe('times and integers', () => {
  const timesOf = (data: Data): readonly number[] => {
    const field = timeField(batchOf({ t: data }), 't');
    return Array.from({ length: data.length }, (_, row) => field.at(row));
  };

  it('microseconds since 2000, floored', () => {
    expect(timesOf(bigintData(new TimestampSecond(), [946_684_801n, 0n]))).toEqual([
      1_000_000, -946_684_800_000_000,
    ]);
    expect(timesOf(bigintData(new TimestampNanosecond('UTC'), [946_684_799_999_999_999n]))).toEqual([-1]);
  });

  it('times beyond safe integers, and integers as times, are refused', () => {
    expect(thrownBy(() => timesOf(bigintData(new TimestampMicrosecond(), [2n ** 62n])))).toMatchObject({
      kind: 'data',
      detail: { column: 't', row: 0 },
    });
    expect(thrownBy(() => timesOf(bigintData(new Int64(), [1n])))).toMatchObject({
      kind: 'data',
      detail: { column: 't' },
    });
  });

  it('integers of any width, safe', () => {
    const at = (data: Data, row: number): number => integerField(batchOf({ n: data }), 'n').at(row);
    expect(at(numberData(new Int32(), [-7]), 0)).toBe(-7);
    expect(at(bigintData(new Uint64(), [2n ** 53n - 1n]), 0)).toBe(2 ** 53 - 1);
    expect(at(bigintData(new Int64(), [-(2n ** 53n) + 1n]), 0)).toBe(-(2 ** 53) + 1);
    const large = bigintData(new Uint64(), [1n, 2n ** 64n - 1n]);
    expect(thrownBy(() => at(large, 1))).toMatchObject({
      kind: 'data',
      detail: { column: 'n', row: 1, value: '18446744073709551615' },
    });
    expect(thrownBy(() => at(numberData(new Float64(), [1]), 0))).toMatchObject({ kind: 'data' });
  });

  it('a missing column is named', () => {
    const batch = batchOf({ n: numberData(new Int32(), [1]) });
    expect(thrownBy(() => integerField(batch, 'block_num'))).toMatchObject({
      kind: 'data',
      detail: { column: 'block_num' },
    });
  });
});
