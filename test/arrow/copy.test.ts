/** Tests of the COPY encoder: slices, nulls, dictionaries, frames and constant columns. */
import {
  Data,
  Dictionary,
  Field,
  FixedSizeBinary,
  Int32,
  Int64,
  IntervalMonthDayNano,
  List,
  makeData,
  Utf8,
  Utf8View,
  Vector,
} from 'apache-arrow';
import { describe, expect, it } from 'vitest';

import type { CopyColumn } from '../../src/arrow/copy.ts';
import { createCopyEncoder } from '../../src/arrow/copy.ts';
import {
  batchOf,
  bigintData,
  boolData,
  bytesData,
  decimalData,
  fixedBytesData,
  numberData,
  utf8,
  viewData,
} from './columns.ts';
import { payloadOf, rowsOf } from './copy-rows.ts';
import { columnsOf, encoded, hex, thrownBy, wordData } from './encoded.ts';

describe('slices, nulls and dictionaries', () => {
  const count = 200;
  const whole = {
    b: boolData(Array.from({ length: count }, (_, row) => (row % 5 === 0 ? null : row % 3 === 0))),
    i: numberData(
      new Int32(),
      Array.from({ length: count }, (_, row) => (row % 7 === 0 ? null : row)),
    ),
    l: bigintData(
      new Int64(),
      Array.from({ length: count }, (_, row) => BigInt(row)),
    ),
    d: decimalData(
      128,
      3,
      Array.from({ length: count }, (_, row) => (row % 11 === 0 ? null : BigInt(row) - 100n)),
    ),
    t: bytesData(
      new Utf8(),
      utf8(Array.from({ length: count }, (_, row) => (row % 2 === 0 ? null : `t${row}`))),
    ),
    v: viewData(
      new Utf8View(),
      utf8(Array.from({ length: count }, (_, row) => (row % 4 === 0 ? null : 'v'.repeat(row % 40)))),
    ),
    f: fixedBytesData(
      new FixedSizeBinary(3),
      Array.from({ length: count }, (_, row) => (row % 9 === 0 ? null : Uint8Array.of(row, 1, 2))),
    ),
    m: wordData(
      new IntervalMonthDayNano(),
      Array.from({ length: 4 * count }, (_, index) => index),
      count,
    ),
  };

  it('a slice is the same rows', () => {
    const batch = batchOf(whole);
    const encoder = createCopyEncoder(batch.schema, { columns: columnsOf(batch) });
    const all = rowsOf(encoder.encode(batch));
    expect(all).toHaveLength(count);
    for (const [begin, end] of [
      [0, 1],
      [1, 200],
      [3, 77],
      [8, 16],
      [63, 66],
      [199, 200],
    ] as const)
      expect(rowsOf(encoder.encode(batch.slice(begin, end)))).toEqual(all.slice(begin, end));
    expect(rowsOf(encoder.encode(batch.slice(9, 150).slice(5, 20)))).toEqual(all.slice(14, 29));
  });

  it('dictionaries of several chunks, with nulls in index and value', () => {
    const text = new Utf8();
    const values = new Vector([bytesData(text, utf8(['a', null])), bytesData(text, utf8(['c', 'dd']))]);
    const data = makeData({
      type: new Dictionary(text, new Int32(), 3),
      length: 6,
      data: Int32Array.of(3, 0, 1, 2, -9, 3),
      nullBitmap: Uint8Array.of(0b10_1111),
      dictionary: values as never,
    });
    expect(encoded(data)).toEqual([hex('dd'), hex('a'), null, hex('c'), null, hex('dd')]);
    expect(encoded(data.slice(1, 3))).toEqual([hex('a'), null, hex('c')]);
  });
});

describe('frames', () => {
  const batch = batchOf({
    t: bytesData(new Utf8(), utf8(Array.from({ length: 5000 }, (_, row) => 'x'.repeat(row % 300)))),
  });
  const encoder = createCopyEncoder(batch.schema, { columns: columnsOf(batch), chunkBytes: 4096 });

  it('open and close as COPY BINARY wants it', () => {
    expect(payloadOf([encoder.header()]).toString('latin1')).toBe('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0');
    expect(payloadOf([encoder.trailer()])).toEqual(Buffer.from([0xff, 0xff]));
  });

  it('stay within the chunk size, and hold every row', () => {
    const frames = [...encoder.encode(batch)];
    expect(Math.max(...frames.map((frame) => frame.length))).toBeLessThanOrEqual(4096);
    expect(Math.min(...frames.slice(0, -1).map((frame) => frame.length))).toBeGreaterThan(1024);
    expect(rowsOf(frames).map(([field]) => field!.length / 2)).toEqual(
      Array.from({ length: 5000 }, (_, row) => row % 300),
    );
  });

  it('grow for a single row that is larger', () => {
    const wide = batchOf({ t: bytesData(new Utf8(), utf8(['a', 'b'.repeat(100_000), 'c'])) });
    const frames = [...encoder.encode(wide)];
    expect(frames.map((frame) => frame.length > 4096)).toEqual([false, true, false]);
    expect(rowsOf(frames)).toEqual([[hex('a')], [hex('b'.repeat(100_000))], [hex('c')]]);
  });

  it('wide jsonb rows are split the same way', () => {
    const texts = Array.from({ length: 300 }, (_, row) => 'y'.repeat((row * 37) % 3000));
    const child = bytesData(new Utf8(), utf8(texts));
    const type = new List(new Field('item', child.type, true));
    const data = new Data(type, 0, 300, 0, [Int32Array.from({ length: 301 }, (_, row) => row)] as never, [
      child,
    ]);
    const lists = batchOf({ t: data });
    const jsonb = createCopyEncoder(lists.schema, { columns: columnsOf(lists), chunkBytes: 4096 });
    expect(
      rowsOf(jsonb.encode(lists)).map(([field]) => Buffer.from(field!, 'hex').toString().slice(1)),
    ).toEqual(texts.map((text) => JSON.stringify([text])));
  });

  it('an empty batch makes none', () => {
    expect([...encoder.encode(batchOf({ t: bytesData(new Utf8(), []) }))]).toEqual([]);
  });
});

describe('constant columns', () => {
  const batch = batchOf({ n: numberData(new Int32(), [1, 2]) });
  const columns: readonly CopyColumn[] = [
    { name: '_batch_id', source: { constant: 5n }, pgType: 'bigint', nullable: false },
    { name: 'n', source: 'n', pgType: 'integer', nullable: false },
  ];

  it('are the same in all rows, and may change with each call', () => {
    const encoder = createCopyEncoder(batch.schema, { columns });
    expect(rowsOf(encoder.encode(batch))).toEqual([
      ['0000000000000005', '00000001'],
      ['0000000000000005', '00000002'],
    ]);
    expect(rowsOf(encoder.encode(batch, { _batch_id: -1n }))[0]).toEqual(['ffffffffffffffff', '00000001']);
  });

  it.each([
    [true, 'boolean', '01'],
    [-2, 'smallint', 'fffe'],
    [7, 'integer', '00000007'],
    [1.5, 'real', '3fc00000'],
    [1.5, 'double precision', '3ff8000000000000'],
    ['1.50', 'numeric', '000200000000000200011388'],
    [10_000n, 'numeric', '00010001000000000001'],
    ['é', 'text', 'c3a9'],
    ['[]', 'jsonb', '015b5d'],
    [Uint8Array.of(1, 2), 'bytea', '0102'],
    [new Date(946_684_800_001), 'timestamptz', '00000000000003e8'],
    [null, 'text', null],
  ] as const)('%s as %s', (constant, pgType, expected) => {
    const encoder = createCopyEncoder(batch.schema, {
      columns: [{ name: 'k', source: { constant }, pgType, nullable: true }],
    });
    expect(rowsOf(encoder.encode(batch))).toEqual([[expected], [expected]]);
  });

  it('must be of their type', () => {
    const encoder = createCopyEncoder(batch.schema, { columns });
    for (const value of [null, 'x', 2n ** 63n, 1.5])
      expect(thrownBy(() => [...encoder.encode(batch, { _batch_id: value })])).toMatchObject({
        kind: 'data',
        detail: { column: '_batch_id' },
      });
  });
});
