/** Tests of the JSON that lists, structs and maps become. */
import {
  Binary,
  Data,
  DateDay,
  DateMillisecond,
  Dictionary,
  DurationNanosecond,
  Field,
  FixedSizeList,
  Float64,
  Int32,
  Int64,
  IntervalDayTime,
  IntervalMonthDayNano,
  IntervalYearMonth,
  List,
  makeData,
  Map_,
  Struct,
  TimeMillisecond,
  TimeNanosecond,
  TimestampNanosecond,
  TimestampSecond,
  Uint64,
  Utf8,
  Vector,
} from 'apache-arrow';
import { describe, expect, it } from 'vitest';

import { bigintData, boolData, bytesData, decimalData, numberData, utf8 } from './columns.ts';
import { encoded, thrownBy, wordData } from './encoded.ts';

describe('nested types become exact jsonb', () => {
  const json = (data: Data): readonly (string | null)[] =>
    encoded(data).map((field) => (field === null ? null : Buffer.from(field, 'hex').toString().slice(1)));
  const list = (child: Data, offsets: readonly number[], size?: number): Data => {
    const field = new Field('item', child.type, true);
    const type = size === undefined ? new List(field) : new FixedSizeList(size, field);
    const rows = size === undefined ? offsets.length - 1 : child.length / size;
    const valueOffsets = size === undefined ? Int32Array.from(offsets) : undefined;
    return new Data(type, 0, rows, 0, [valueOffsets] as never, [child]);
  };
  const struct = (columns: Readonly<Record<string, Data>>, nulls?: readonly unknown[]): Data => {
    const fields = Object.entries(columns).map(([name, { type }]) => new Field(name, type, true));
    const children = Object.values(columns);
    const length = children[0]!.length;
    if (nulls === undefined) return makeData({ type: new Struct(fields), length, children });
    const nullBitmap = Uint8Array.of(
      nulls.reduce<number>((bits, value, row) => (value === null ? bits : bits | (1 << row)), 0),
    );
    return makeData({ type: new Struct(fields), length, children, nullBitmap });
  };

  it('numbers', () => {
    const child = bigintData(new Int64(), [2n ** 63n - 1n, null, -1n]);
    expect(json(list(child, [0, 2, 2, 3]))).toEqual(['[9223372036854775807,null]', '[]', '[-1]']);
    expect(json(list(bigintData(new Uint64(), [2n ** 64n - 1n]), [0, 1]))).toEqual([
      '[18446744073709551615]',
    ]);
    expect(json(list(decimalData(128, 2, [-5n, 12345678901234567890n]), [0, 2]))).toEqual([
      '[-0.05,123456789012345678.90]',
    ]);
    const floats = numberData(new Float64(), [0.1, NaN, Infinity, -Infinity]);
    expect(json(list(floats, [0, 4]))).toEqual(['[0.1,"NaN","Infinity","-Infinity"]']);
  });

  it('text, bytes and booleans', () => {
    expect(json(list(bytesData(new Utf8(), utf8(['"é\n', null])), [0, 2]))).toEqual([
      String.raw`["\"é\n",null]`,
    ]);
    expect(json(list(bytesData(new Binary(), [Uint8Array.of(1, 255)]), [0, 1]))).toEqual(['["0x01ff"]']);
    expect(json(list(boolData([true, false]), [0, 2]))).toEqual(['[true,false]']);
  });

  it('times as ISO 8601', () => {
    const one = (data: Data): unknown => json(list(data, [0, 1]))[0];
    expect(one(bigintData(new TimestampNanosecond('UTC'), [-1n]))).toBe('["1969-12-31T23:59:59.999999999Z"]');
    expect(one(bigintData(new TimestampSecond(), [0n]))).toBe('["1970-01-01T00:00:00"]');
    expect(one(numberData(new DateDay(), [-1]))).toBe('["1969-12-31"]');
    expect(one(bigintData(new DateMillisecond(), [86_400_000n]))).toBe('["1970-01-02"]');
    expect(one(numberData(new TimeMillisecond(), [3_723_004]))).toBe('["01:02:03.004"]');
    expect(one(bigintData(new TimeNanosecond(), [1n]))).toBe('["00:00:00.000000001"]');
    expect(one(bigintData(new DurationNanosecond(), [-1_500_000_000n]))).toBe('["PT-1.500000000S"]');
    expect(one(wordData(new IntervalMonthDayNano(), [1, -2, 5, 0], 1))).toBe('["P1M-2DT0.000000005S"]');
    expect(one(wordData(new IntervalDayTime(), [3, 1500], 1))).toBe('["P0M3DT1.500S"]');
    expect(one(wordData(new IntervalYearMonth(), [14], 1))).toBe('["P14M0DT0S"]');
  });

  it('structs, fixed lists, maps and dictionaries, sliced', () => {
    const rows = struct(
      { a: numberData(new Int32(), [1, null, 3]), b: bytesData(new Utf8(), utf8(['x', 'y', 'z'])) },
      [1, null, 1],
    );
    expect(json(rows)).toEqual(['{"a":1,"b":"x"}', null, '{"a":3,"b":"z"}']);
    expect(json(rows.slice(1, 2))).toEqual([null, '{"a":3,"b":"z"}']);
    const pairs = list(numberData(new Int32(), [1, 2, 3, 4, 5, 6]), [], 2);
    expect(json(pairs.slice(1, 2))).toEqual(['[3,4]', '[5,6]']);
    const entries = struct({
      key: bytesData(new Utf8(), utf8(['k', 'l', 'm'])),
      value: numberData(new Int32(), [1, null, 3]),
    });
    const map = new Data(
      new Map_(new Field('entries', entries.type, false) as never),
      0,
      2,
      0,
      [Int32Array.of(0, 2, 3)] as never,
      [entries],
    );
    expect(json(map)).toEqual(['{"k":1,"l":null}', '{"m":3}']);
    const numbered = struct({ key: numberData(new Int32(), [7]), value: boolData([true]) });
    const byNumber = new Data(
      new Map_(new Field('entries', numbered.type, false) as never),
      0,
      1,
      0,
      [Int32Array.of(0, 1)] as never,
      [numbered],
    );
    expect(json(byNumber)).toEqual(['{"7":true}']);
    const dictionary = makeData({
      type: new Dictionary(new Utf8(), new Int32(), 1),
      data: Int32Array.of(1, 0),
      length: 2,
      dictionary: new Vector([bytesData(new Utf8(), utf8(['a', 'b']))]) as never,
    });
    expect(json(list(dictionary, [0, 2]))).toEqual(['["b","a"]']);
  });

  it('refuses \\0 and names the row', () => {
    const rows = list(bytesData(new Utf8(), utf8(['a', 'b\0c'])), [0, 1, 2]);
    expect(thrownBy(() => json(rows))).toMatchObject({ kind: 'data', detail: { column: 'c', row: 1 } });
  });
});
