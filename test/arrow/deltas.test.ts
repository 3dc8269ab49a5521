/** From changes to deltas: one exact sum and count per account, asset and period, at every edge of a period, before 2000 too. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createChangeBuffer } from '../../src/arrow/changes.ts';
import { DELTA_COLUMNS } from '../../src/arrow/deltas.ts';
import { createLeafOf } from '../../src/arrow/hash-leaf.ts';
import { writeNumericText } from '../../src/arrow/numeric-text.ts';
import { propertyOptions } from '../seed.ts';
import { rowsOf } from './copy-rows.ts';
import { numericText } from './numeric-bytes.ts';

const HOUR = 3_600_000_000;
const DAY = 24 * HOUR;

interface Change {
  readonly account: string;
  readonly asset: number;
  readonly time: number;
  readonly units: bigint;
}

/** A buffer with these changes. */
const bufferOf = (changes: readonly Change[], leaves: boolean) => {
  const buffer = createChangeBuffer(leaves ? { leafOf: createLeafOf(4) } : {});
  const delta = new Uint8Array(128);
  for (const [index, { account, asset, time, units }] of changes.entries()) {
    const bytes = new TextEncoder().encode(account);
    const text = new TextEncoder().encode(String(units));
    const end = writeNumericText(text, 0, text.length, false, new DataView(delta.buffer), 0);
    buffer.append(bytes, 0, bytes.length, asset, -asset, time, index, 0, delta, 0, end);
  }
  return buffer;
};

const HEADER_BYTES = 19;

/** The rows of a whole COPY: without its header and trailer. */
const deltasOf = (changes: readonly Change[], period: number, leaves = false): string[] => {
  const frames = [...bufferOf(changes, leaves).deltas(period)];
  expect(frames[0]!.length).toBe(5 + HEADER_BYTES);
  expect(frames.at(-1)!.toString('hex')).toMatch(/ffff$/);
  return rowsOf(frames.slice(1, -1)).map((row) => {
    expect(row).toHaveLength(DELTA_COLUMNS.length);
    const [account, asset, start, delta, count] = row.map((field) => Buffer.from(field!, 'hex'));
    const view = new DataView(delta!.buffer, delta!.byteOffset, delta!.length);
    return [
      account!.toString(),
      asset!.readInt32BE(0),
      start!.readBigInt64BE(0),
      numericText(view, delta!.length),
      count!.readInt32BE(0),
    ].join(' ');
  });
};

/** The same by maps and BigInt. */
const expectedDeltas = (changes: readonly Change[], period: number): string[] => {
  const startOf = (time: number): bigint => {
    const since = ((time % period) + period) % period;
    return BigInt(time - since);
  };
  return [...Map.groupBy(changes, ({ account, asset, time }) => `${account} ${asset} ${startOf(time)}`)].map(
    ([key, group]) => `${key} ${group.reduce((sum, { units }) => sum + units, 0n)} ${group.length}`,
  );
};

const time = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc
    .tuple(fc.integer({ min: -50, max: 50 }), fc.constantFrom(-1, 0, 1))
    .map(([hours, off]) => hours * HOUR + off),
  fc.integer({ min: -2 * DAY, max: 2 * DAY }),
);
const change: fc.Arbitrary<Change> = fc.record({
  account: fc.constantFrom('a', 'ab', 'abcdefgh', 'abcdefgi', 'abcdefghijkl'),
  asset: fc.constantFrom(0, 1, -1, 65_536, 65_537),
  time,
  units: fc.oneof(fc.bigInt({ min: -3n, max: 3n }), fc.bigInt({ min: -(2n ** 255n), max: 2n ** 255n })),
});

describe('deltas of changes', () => {
  it('are one per account, asset and period, whatever the order of arrival', () => {
    fc.assert(
      fc.property(
        fc.array(change, { maxLength: 60 }),
        fc.constantFrom(HOUR, DAY),
        fc.boolean(),
        (changes, period, leaves) => {
          const deltas = deltasOf(changes, period, leaves);
          expect(deltas.toSorted()).toEqual(expectedDeltas(changes, period).toSorted());
        },
      ),
      propertyOptions(500),
    );
  });

  it('begin a period at its first microsecond, before 2000 as after it', () => {
    const at = (micros: number): Change => ({ account: 'a', asset: 1, time: micros, units: 1n });
    expect(deltasOf([-DAY - 1, -DAY, -1, 0, DAY - 1, DAY].map(at), DAY)).toEqual([
      `a 1 ${-2 * DAY} 1 1`,
      `a 1 ${-DAY} 2 2`,
      'a 1 0 2 2',
      `a 1 ${DAY} 1 1`,
    ]);
  });

  it('that come to nothing are still counted, for the row of their period exists', () => {
    const [units, back] = [5n, -5n].map((amount) => ({ account: 'a', asset: 1, time: 7, units: amount }));
    expect(deltasOf([units!, back!], HOUR)).toEqual(['a 1 0 0 2']);
  });

  it('of many changes fill frames to their bound and no further', () => {
    const changes = Array.from({ length: 20_000 }, (_unused, index) => ({
      account: `account ${index}`,
      asset: 1,
      time: 0,
      units: 2n ** 255n,
    }));
    const frames = [...bufferOf(changes, true).deltas(HOUR)];
    expect(frames.length).toBeGreaterThan(5);
    expect(deltasOf(changes, HOUR, true)).toHaveLength(changes.length);
    expect([...bufferOf([], false).deltas(HOUR)]).toHaveLength(2);
  });
});
