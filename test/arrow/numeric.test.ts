/** Tests of the numeric writers: every value at small precision, then the edges, then random ones. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { writeNumericText } from '../../src/arrow/numeric-text.ts';
import {
  NUMERIC_BOUND,
  requireScale,
  writeBigEndian,
  writeSafeInteger,
  writeWords,
} from '../../src/arrow/numeric.ts';
import { propertyOptions } from '../seed.ts';
import { decimalText, numericText } from './numeric-bytes.ts';

const view = new DataView(new ArrayBuffer(200_000));

const wordsOf = (value: bigint, count: number): Uint32Array =>
  Uint32Array.from({ length: count }, (_, word) =>
    Number((BigInt.asUintN(32 * count, value) >> BigInt(32 * word)) & 0xffff_ffffn),
  );

const fromWords = (value: bigint, count: number, scale: number, negate = false, signed = true): string => {
  const end = writeWords(wordsOf(value, count), 0, count, signed, scale, negate, view, 0);
  expect(end).toBeLessThanOrEqual(NUMERIC_BOUND);
  return numericText(view, end);
};

const bigEndian = (value: bigint, width: number): Uint8Array =>
  Buffer.from(value.toString(16).padStart(2 * width, '0'), 'hex');

const fromBytes = (bytes: Uint8Array, negate = false): string =>
  numericText(view, writeBigEndian(bytes, 0, bytes.length, negate, view, 0));

const fromText = (text: string, negate = false): string => {
  const bytes = new TextEncoder().encode(text);
  return numericText(view, writeNumericText(bytes, 0, bytes.length, negate, view, 0));
};

describe('numeric', () => {
  it.each([0, 1, 2, 3, 4])('every value from −99999 to 99999 at scale %i', (scale) => {
    const words = new Uint32Array(4);
    const faults: string[] = [];
    for (let value = -99_999; value <= 99_999; value++) {
      words[0] = value;
      words.fill(value < 0 ? 0xffff_ffff : 0, 1);
      const got = numericText(view, writeWords(words, 0, 4, true, scale, false, view, 0));
      if (got !== decimalText(BigInt(value), scale)) faults.push(`${value}: ${got}`);
    }
    expect(faults).toEqual([]);
  });

  it.each([0, 1, 2, 3, 4, 7, 18, 38])('keeps zero digits in the middle, at scale %i', (scale) => {
    for (let high = 0; high <= 36; high++)
      for (let low = 0; low <= high; low++) {
        const value = 10n ** BigInt(high) + 10n ** BigInt(low);
        expect(fromWords(value, 4, scale)).toBe(decimalText(value, scale));
        expect(fromWords(-value, 8, scale)).toBe(decimalText(-value, scale));
      }
  });

  const edges = [
    0n,
    1n,
    -1n,
    10n ** 38n - 1n,
    1n - 10n ** 38n,
    2n ** 127n - 1n,
    -(2n ** 127n),
    2n ** 53n,
    2n ** 64n,
  ];
  it.each([-9, -4, -1, 0, 1, 18, 37, 38, 40])('the edges of 128 bits at scale %i', (scale) => {
    for (const value of edges) {
      expect(fromWords(value, 4, scale)).toBe(decimalText(value, scale));
      expect(fromWords(value, 4, scale, true)).toBe(decimalText(-value, scale));
    }
  });

  it.each([0, 18, 38, 76])('the edges of 256 bits at scale %i', (scale) => {
    for (const value of [2n ** 255n - 1n, -(2n ** 255n), -1n, 0n])
      expect(fromWords(value, 8, scale)).toBe(decimalText(value, scale));
    const largest = 2n ** 256n - 1n;
    expect(fromWords(largest, 8, scale, false, false)).toBe(decimalText(largest, scale));
  });

  it('64-bit integers, signed and not', () => {
    expect(fromWords(2n ** 64n - 1n, 2, 0, false, false)).toBe('18446744073709551615');
    expect(fromWords(-(2n ** 63n), 2, 0)).toBe('-9223372036854775808');
    expect(fromWords(2n ** 64n - 1n, 2, 0, true, false)).toBe('-18446744073709551615');
  });

  it('dividends whose quotient a double gets wrong', () => {
    // Just below and above multiples of 10^8 · 2^32, where the approximate quotient rounds to the wrong side.
    for (let factor = 1n; factor < 2n ** 95n; factor = factor * 3n + 1n)
      for (const step of [-1n, 0n, 1n]) {
        const value = 100_000_000n * factor + step;
        if (value < 2n ** 127n) expect(fromWords(value, 4, 0)).toBe(String(value));
      }
  });

  it('big-endian bytes of any width up to 32', () => {
    for (let width = 0; width <= 32; width++) {
      const largest = 256n ** BigInt(width) - 1n;
      expect(fromBytes(bigEndian(largest, width).subarray(0, width))).toBe(String(largest));
    }
    expect(fromBytes(bigEndian(5n, 32), true)).toBe('-5');
    expect(fromBytes(new Uint8Array(32), true)).toBe('0');
  });

  it('safe integers', () => {
    for (const value of [0, -0, 1, -1, 9999, 10_000, 2 ** 32, -(2 ** 53 - 1), 2 ** 53 - 1]) {
      const text = numericText(view, writeSafeInteger(value, false, view, 0));
      expect(text).toBe(String(BigInt(value)));
    }
  });

  it('refuses a scale no dataset has', () => {
    expect(() => requireScale(1001)).toThrow(/scale 1001/);
    expect(() => requireScale(1.5)).toThrow(/scale 1.5/);
  });

  it('text, as it stands', () => {
    const cases = {
      '0': '0',
      '-0': '0',
      '+7': '7',
      '007': '7',
      '-1.50': '-1.50',
      '.5': '0.5',
      '5.': '5',
      '0.0000': '0.0000',
      '0.00001': '0.00001',
      '10000.0001': '10000.0001',
      '100000000': '100000000',
      '1234500006789.000000001': '1234500006789.000000001',
      '0x0': '0',
      '0x1F': '31',
      '-0xff': '-255',
      [`0x${'f'.repeat(64)}`]: String(2n ** 256n - 1n),
      [`0x${'0'.repeat(63)}1`]: '1',
      [`${'9'.repeat(400)}.${'1'.repeat(300)}`]: `${'9'.repeat(400)}.${'1'.repeat(300)}`,
    };
    for (const [text, expected] of Object.entries(cases)) expect(fromText(text)).toBe(expected);
    expect(fromText('-2.5', true)).toBe('2.5');
    expect(fromText('0x10', true)).toBe('-16');
  });

  it.each([
    '',
    '-',
    '.',
    '+.',
    '1e18',
    'NaN',
    'Infinity',
    ' 1',
    '1 ',
    '1,000',
    '0x',
    '0xg',
    '1.2.3',
    '--1',
    '0x-1',
    '١',
  ])('refuses %j as a number', (text) => {
    expect(() => fromText(text)).toThrow(/not a plain decimal/);
  });

  it('refuses more digits than PostgreSQL holds', () => {
    expect(() => fromText(`0.${'0'.repeat(16_384)}`)).toThrow(/more digits/);
    expect(() => fromText('9'.repeat(131_073))).toThrow(/more digits/);
    expect(() => fromText(`0x${'0'.repeat(65)}`)).toThrow(/more digits/);
  });

  it('any value at any scale, and its opposite', () => {
    const bits = fc
      .integer({ min: 1, max: 255 })
      .chain((width) => fc.bigInt({ min: -(2n ** BigInt(width)), max: 2n ** BigInt(width) - 1n }));
    fc.assert(
      fc.property(bits, fc.integer({ min: -40, max: 80 }), (value, scale) => {
        expect(fromWords(value, 8, scale)).toBe(decimalText(value, scale));
        expect(fromWords(value, 8, scale, true)).toBe(decimalText(-value, scale));
        expect(fromText(decimalText(value, scale))).toBe(decimalText(value, scale));
        const magnitude = value < 0n ? -value : value;
        expect(fromBytes(bigEndian(magnitude, 32))).toBe(String(magnitude));
        expect(fromText(`0x${magnitude.toString(16)}`)).toBe(String(magnitude));
      }),
      propertyOptions(2000),
    );
  });
});
