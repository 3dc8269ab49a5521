/** Tests of the message-by-message decoder, with messages as a Flight server sends them, whole and damaged. */
import { zstdCompressSync } from 'node:zlib';

import type { RecordBatch } from 'apache-arrow';
import {
  CompressionType,
  compressionRegistry,
  Decimal,
  Dictionary,
  Field,
  Int32,
  Int64,
  makeData,
  Message,
  Schema,
  Utf8,
  Utf8View,
  Vector,
  vectorFromArray,
} from 'apache-arrow';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createIpcDecoder } from '../../src/arrow/ipc.ts';
import { propertyOptions } from '../seed.ts';
import { batchOf, bigintData, bytesData, decimalData, numberData, utf8, viewData } from './columns.ts';
import { thrownBy, thrownOrNull } from './encoded.ts';
import type { FlightMessage } from './flight-data.ts';
import { messagesOf } from './flight-data.ts';

const EMPTY = new Uint8Array(0);

const numbers = (...values: readonly (number | null)[]): RecordBatch =>
  batchOf({ n: numberData(new Int32(), values) });

const decodeAll = (messages: readonly FlightMessage[]): readonly RecordBatch[] => {
  const decoder = createIpcDecoder();
  return messages.map(({ header, body }) => decoder.push(header, body)).filter((batch) => batch !== null);
};

const valuesOf = (batch: RecordBatch, name: string): readonly unknown[] => [...batch.getChild(name)!];

describe('the decoder', () => {
  it('gives each batch with its own message', () => {
    const decoder = createIpcDecoder();
    const [schema, first, second] = messagesOf([numbers(1, null, 3), numbers(4)]);
    expect(decoder.schema).toBeNull();
    expect(decoder.push(schema!.header, schema!.body)).toBeNull();
    expect(decoder.schema?.fields.map(String)).toEqual(['n: Int32']);
    expect(valuesOf(decoder.push(first!.header, first!.body)!, 'n')).toEqual([1, null, 3]);
    expect(valuesOf(decoder.push(second!.header, second!.body)!, 'n')).toEqual([4]);
  });

  it('passes over a message that is metadata only', () => {
    const decoder = createIpcDecoder();
    const [schema, first, second] = messagesOf([numbers(1), numbers(2)]);
    decoder.push(schema!.header, schema!.body);
    expect(decoder.push(EMPTY, EMPTY)).toBeNull();
    expect(decoder.push(first!.header, first!.body)?.numRows).toBe(1);
    expect(decoder.push(EMPTY, EMPTY)).toBeNull();
    expect(decoder.push(second!.header, second!.body)?.numRows).toBe(1);
  });

  it('takes empty batches at any place', () => {
    const batches = decodeAll(messagesOf([numbers(), numbers(1), numbers(), numbers(2, 3)]));
    expect(batches.map((batch) => batch.numRows)).toEqual([0, 1, 0, 2]);
  });

  it('takes bodies at any alignment, and Buffers', () => {
    const messages = messagesOf([batchOf({ n: bigintData(new Int64(), [1n, -2n, null]) })]);
    for (let shift = 0; shift < 9; shift++) {
      const shifted = messages.map(({ header, body }) => ({
        header: Buffer.concat([Buffer.alloc(shift), header]).subarray(shift),
        body: Buffer.concat([Buffer.alloc(shift), body]).subarray(shift),
      }));
      expect(valuesOf(decodeAll(shifted)[0]!, 'n')).toEqual([1n, -2n, null]);
    }
  });

  it('ignores the same schema again, dictionaries kept', () => {
    const type = new Dictionary(new Utf8(), new Int32(), 7);
    const words = vectorFromArray(['a', 'b'], type);
    const messages = messagesOf([batchOf({ d: words.data[0]! }), batchOf({ d: words.data[0]! })]);
    expect(messages).toHaveLength(4);
    const [schema, dictionary, first, second] = messages;
    const batches = decodeAll([schema!, dictionary!, first!, schema!, second!]);
    expect(batches.map((batch) => valuesOf(batch, 'd'))).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ]);
  });

  it.each([
    ['a name', batchOf({ m: numberData(new Int32(), [1]) }), 'n'],
    ['a type', batchOf({ n: bigintData(new Int64(), [1n]) }), 'n'],
    ['a further column', batchOf({ n: numberData(new Int32(), [1]), x: numberData(new Int32(), [1]) }), 'x'],
  ])('refuses a second schema that differs in %s', (_what, other, column) => {
    const decoder = createIpcDecoder();
    const [before] = messagesOf([numbers(1)]);
    const [now] = messagesOf([other]);
    decoder.push(before!.header, before!.body);
    expect(thrownBy(() => decoder.push(now!.header, now!.body))).toMatchObject({
      kind: 'protocol',
      detail: { column },
    });
  });

  it('refuses a second schema that differs in a decimal scale', () => {
    const decoder = createIpcDecoder();
    const [before] = messagesOf([batchOf({ d: decimalData(128, 2, [1n]) })]);
    const [now] = messagesOf([batchOf({ d: decimalData(128, 3, [1n]) })]);
    decoder.push(before!.header, before!.body);
    expect(thrownBy(() => decoder.push(now!.header, now!.body))).toMatchObject({ kind: 'protocol' });
  });
});

describe('dictionaries', () => {
  const type = new Dictionary(new Utf8(), new Int32(), 9);
  const indices = (values: readonly number[], words: Vector): RecordBatch =>
    batchOf({
      d: makeData({ type, length: values.length, data: Int32Array.from(values), dictionary: words as never }),
    });
  const vector = (...values: readonly string[]): Vector => new Vector([bytesData(new Utf8(), utf8(values))]);

  it('grow by deltas and are replaced, without a change to batches already given', () => {
    const first = vector('a', 'b');
    const grown = first.concat(vector('c'));
    const other = vector('x', 'y', 'z');
    const batches = decodeAll(
      messagesOf([
        indices([1, 0], first),
        indices([2, 0], grown),
        indices([2, 1], other),
        indices([0], other),
      ]),
    );
    expect(batches.map((batch) => valuesOf(batch, 'd'))).toEqual([['b', 'a'], ['c', 'a'], ['z', 'y'], ['x']]);
  });

  it('may not come for an id no column has', () => {
    const messages = messagesOf([indices([0], vector('a'))]);
    const [plain] = messagesOf([numbers(1)]);
    expect(thrownBy(() => decodeAll([plain!, messages[1]!]))).toMatchObject({ kind: 'protocol' });
  });
});

describe('a damaged stream', () => {
  const [schema, batch] = messagesOf([numbers(1, 2, 3, 4, 5)]);

  it('fails for a body cut short, and stays failed', () => {
    const decoder = createIpcDecoder();
    decoder.push(schema!.header, schema!.body);
    const cut = batch!.body.subarray(0, batch!.body.length - 8);
    expect(thrownBy(() => decoder.push(batch!.header, cut))).toMatchObject({ kind: 'protocol' });
    expect(thrownBy(() => decoder.push(batch!.header, batch!.body))).toMatchObject({ kind: 'protocol' });
  });

  it('fails for data before the schema', () => {
    expect(thrownBy(() => decodeAll([batch!]))).toMatchObject({
      kind: 'protocol',
      message: /before the schema/,
    });
  });

  it('fails for a batch of another schema', () => {
    const [, wider] = messagesOf([
      batchOf({ a: numberData(new Int32(), [1]), b: numberData(new Int32(), [1]) }),
    ]);
    expect(thrownBy(() => decodeAll([schema!, wider!]))).toMatchObject({ kind: 'protocol' });
  });

  it('never fails with anything but an error of ours, whatever byte is damaged', () => {
    const messages = messagesOf([
      batchOf({
        t: bytesData(new Utf8(), utf8(['a', null, 'ccc'])),
        d: vectorFromArray(['x', 'y', 'x']).data[0]!,
      }),
    ]);
    const damage = fc.tuple(fc.nat(messages.length - 1), fc.nat(10_000), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(damage, ([message, at, flip]) => {
        const header = messages[message]!.header.slice();
        header[at % header.length]! ^= flip;
        const thrown = thrownOrNull(() =>
          decodeAll(messages.with(message, { ...messages[message]!, header })),
        );
        if (thrown !== null) expect(thrown).toMatchObject({ name: 'WarehouseError' });
      }),
      propertyOptions(2000),
    );
  });

  it('names the column of an Arrow type that cannot be read', () => {
    const header = Message.encode(Message.from(new Schema([new Field('runs', new Int32())])));
    // The field's type is the one byte 2 (Int) that turns the message into one with run-end encoding (22).
    const outcomes = [...header.keys()]
      .filter((at) => header[at] === 2)
      .map((at) => {
        const damaged = header.slice();
        damaged[at] = 22;
        return thrownOrNull(() => createIpcDecoder().push(damaged, EMPTY));
      });
    expect(outcomes).toContainEqual(
      expect.objectContaining({
        kind: 'data',
        message: 'column "runs" has the Arrow type RunEndEncoded, which cannot be read',
      }),
    );
  });

  it('survives a header that is noise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (header) => {
        expect(thrownBy(() => createIpcDecoder().push(header, EMPTY))).toMatchObject({ kind: 'protocol' });
      }),
      propertyOptions(500),
    );
  });
});

/** An LZ4 frame of one stored block: enough for apache-arrow's own check of an encoder. */
const storedLz4 = (bytes: Uint8Array): Uint8Array => {
  const size = Buffer.alloc(4);
  size.writeUInt32LE((bytes.length | 0x8000_0000) >>> 0);
  return Buffer.concat([Buffer.from('04224d18604082', 'hex'), size, bytes, Buffer.alloc(4)]);
};

describe('compressed bodies', () => {
  const compress = { [CompressionType.LZ4_FRAME]: storedLz4, [CompressionType.ZSTD]: zstdCompressSync };
  const types = [CompressionType.LZ4_FRAME, CompressionType.ZSTD] as const;
  beforeAll(() => {
    for (const type of types)
      compressionRegistry.set(type, { encode: (bytes) => new Uint8Array(compress[type](bytes)) });
  });
  afterAll(() => {
    for (const type of types) compressionRegistry.set(type, {});
  });

  it.each([
    ['LZ4', CompressionType.LZ4_FRAME],
    ['ZSTD', CompressionType.ZSTD],
  ] as const)('%s', (_name, type) => {
    const texts = Array.from({ length: 500 }, (_, row) => (row % 7 === 0 ? null : `text number ${row % 5}`));
    const batch = batchOf({
      n: bigintData(
        new Int64(),
        texts.map((_, row) => (row % 3 === 0 ? null : BigInt(row))),
      ),
      t: bytesData(new Utf8(), utf8(texts)),
      v: viewData(new Utf8View(), utf8(texts)),
    });
    const [decoded] = decodeAll(messagesOf([batch], type));
    expect(valuesOf(decoded!, 'n')).toEqual(valuesOf(batch, 'n'));
    expect(valuesOf(decoded!, 't')).toEqual(texts);
    expect(valuesOf(decoded!, 'v')).toEqual(texts);
  });
});

it('keeps decimals whole', () => {
  const [decoded] = decodeAll(
    messagesOf([batchOf({ d: decimalData(256, 18, [2n ** 255n - 1n, null, -1n]) })]),
  );
  expect(decoded!.schema.fields[0]!.type).toBeInstanceOf(Decimal);
  expect(decoded!.data.children[0]!.values).toHaveLength(24);
});
