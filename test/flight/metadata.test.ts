/** Batch metadata: exact block numbers, normalised hashes, and a named fault for everything malformed. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ZERO_HASH, encodeMetadata, parseMetadata } from '../../src/chain/metadata.ts';
import { WarehouseError } from '../../src/runtime/errors.ts';

const HASH = `0x${'Ab'.repeat(32)}`;
const range = {
  numbers: { start: 100, end: 102 },
  network: 'mainnet',
  hash: HASH,
  prev_hash: HASH,
  timestamp: 1_700_000_000,
};
const good = { ranges: [range], ranges_complete: false };
const parse = (value: unknown) =>
  parseMetadata(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));

const failure = (value: unknown): WarehouseError => {
  try {
    parse(value);
  } catch (error) {
    if (error instanceof WarehouseError) return error;
    throw error;
  }
  throw new Error('it was accepted');
};

test('reads what an Amp server sends', () => {
  expect(parse(good)).toEqual({
    ranges: [
      {
        network: 'mainnet',
        start: 100,
        end: 102,
        hash: HASH.toLowerCase(),
        prevHash: HASH.toLowerCase(),
        timestamp: 1_700_000_000,
      },
    ],
    complete: false,
  });
});

test('ignores unknown keys, wherever they are', () => {
  const extended = { ...good, more: 1, ranges: [{ ...range, x: {}, numbers: { ...range.numbers, y: [] } }] };
  expect(parse(extended)).toEqual(parse(good));
});

test('a missing or null prev_hash and timestamp are null, a zero prev_hash stays', () => {
  const { prev_hash: _, timestamp: __, ...bare } = range;
  expect(parse({ ...good, ranges: [bare] }).ranges[0]).toMatchObject({ prevHash: null, timestamp: null });
  const nulls = { ...range, prev_hash: null, timestamp: null };
  expect(parse({ ...good, ranges: [nulls] }).ranges[0]).toMatchObject({ prevHash: null, timestamp: null });
  const genesis = { ...range, prev_hash: ZERO_HASH };
  expect(parse({ ...good, ranges: [genesis] }).ranges[0]?.prevHash).toBe(ZERO_HASH);
});

test('nothing synced is no range at all', () => {
  expect(parse({ ranges: [], ranges_complete: true })).toEqual({ ranges: [], complete: true });
});

describe('malformed metadata is refused and named', () => {
  test.each([
    ['not JSON', '{', 'not JSON'],
    ['a list', [], 'metadata must be an object'],
    ['null', 'null', 'metadata must be an object'],
    ['no ranges', { ranges_complete: true }, 'ranges must be a list'],
    ['no ranges_complete', { ranges: [] }, 'ranges_complete'],
    ['ranges_complete as text', { ranges: [], ranges_complete: 'true' }, 'ranges_complete'],
    ['a range that is none', { ...good, ranges: [7] }, 'each of ranges'],
    ['no network', { ...good, ranges: [{ ...range, network: '' }] }, 'network'],
    ['no numbers', { ...good, ranges: [{ ...range, numbers: null }] }, 'numbers must be an object'],
    ['a fraction', { ...good, ranges: [{ ...range, numbers: { start: 1.5, end: 2 } }] }, 'numbers.start'],
    [
      'a negative number',
      { ...good, ranges: [{ ...range, numbers: { start: -1, end: 2 } }] },
      'numbers.start',
    ],
    ['a number as text', { ...good, ranges: [{ ...range, numbers: { start: 1, end: '2' } }] }, 'numbers.end'],
    [
      'an end before its start',
      { ...good, ranges: [{ ...range, numbers: { start: 3, end: 2 } }] },
      'before its start',
    ],
    ['a short hash', { ...good, ranges: [{ ...range, hash: '0x12' }] }, 'hash must be'],
    ['a hash without 0x', { ...good, ranges: [{ ...range, hash: 'ab'.repeat(32) }] }, 'hash must be'],
    ['a faulty prev_hash', { ...good, ranges: [{ ...range, prev_hash: 1 }] }, 'prev_hash must be'],
    ['a faulty timestamp', { ...good, ranges: [{ ...range, timestamp: 'now' }] }, 'timestamp'],
    ['a network twice', { ...good, ranges: [range, range] }, 'more than one range'],
  ])('%s', (_, value, said) => {
    const error = failure(value);
    expect(error.kind).toBe('protocol');
    expect(error.message).toContain(said);
    expect(error.detail.remedy).toBeDefined();
  });

  test('block numbers from 2^53 on, which JSON would round without a word', () => {
    const text = JSON.stringify(good).replace('"end":102', '"end":9007199254740993');
    expect(failure(text).message).toContain('numbers.end');
  });

  test('bytes that are not UTF-8', () => {
    expect(() => parseMetadata(Uint8Array.of(0xff, 0xfe))).toThrow(WarehouseError);
  });

  test('any JSON at all gives metadata or a protocol error', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          parse(text);
        } catch (error) {
          expect((error as WarehouseError).kind).toBe('protocol');
        }
      }),
    );
  });
});

test('encoding and parsing are inverse', () => {
  const hash = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => `0x${Buffer.from(bytes).toString('hex')}`);
  const blocks = fc
    .tuple(fc.maxSafeNat(), fc.maxSafeNat())
    .map(([left, right]) => ({ start: Math.min(left, right), end: Math.max(left, right) }));
  const ranges = fc.uniqueArray(
    fc
      .tuple(blocks, fc.string({ minLength: 1 }), hash, fc.option(hash), fc.option(fc.nat()))
      .map(([span, network, end, prevHash, timestamp]) => ({
        start: span.start,
        end: span.end,
        network,
        hash: end,
        prevHash,
        timestamp,
      })),
    { selector: ({ network }) => network, maxLength: 4 },
  );
  fc.assert(
    fc.property(ranges, fc.boolean(), (list, complete) => {
      expect(parseMetadata(encodeMetadata({ ranges: list, complete }))).toEqual({ ranges: list, complete });
    }),
  );
});
