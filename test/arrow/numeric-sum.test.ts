/** Sums of numeric payloads: exact against BigInt, canonical in form, at every sign, scale and gap between digits. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeNumericText } from '../../src/arrow/numeric-text.ts';
import { sumNumerics } from '../../src/arrow/numeric-sum.ts';
import { propertyOptions } from '../seed.ts';
import { decimalText, numericText } from './numeric-bytes.ts';

/** A number as the units of a scale. */
interface Amount {
  readonly units: bigint;
  readonly scale: number;
}

/** The sum of amounts as PostgreSQL would show it; fails for a payload that is not in canonical form. */
const sumOf = (amounts: readonly Amount[]): string => {
  const source = new DataView(new ArrayBuffer(256 * amounts.length + 16));
  const starts: number[] = [];
  let pos = 3; // payloads need not be aligned
  for (const { units, scale } of amounts) {
    starts.push(pos);
    const text = new TextEncoder().encode(decimalText(units, scale));
    pos = writeNumericText(text, 0, text.length, false, source, pos);
  }
  const sum = sumNumerics(source, starts);
  const out = new DataView(new ArrayBuffer(sum.bytes));
  expect(sum.write(out, 0)).toBe(sum.bytes);
  return numericText(out, sum.bytes);
};

/** The same by BigInt. */
const expectedSum = (amounts: readonly Amount[]): string => {
  const scale = Math.max(...amounts.map((amount) => amount.scale));
  return decimalText(
    amounts.reduce((sum, amount) => sum + amount.units * 10n ** BigInt(scale - amount.scale), 0n),
    scale,
  );
};

const check = (...amounts: Amount[]): void => {
  expect(sumOf(amounts)).toBe(expectedSum(amounts));
};

describe('sums of numerics', () => {
  it('are exact for every pair of small numbers at every small scale', () => {
    const near = [0n, 1n, 9n, 99n, 9_999n, 10_000n, 10_001n, 99_999_999n, 100_000_000n];
    const all = near.flatMap((units) => [units, -units]);
    for (const a of all)
      for (const b of all)
        for (const scale of [0, 1, 4, 5, 8]) check({ units: a, scale }, { units: b, scale: 4 });
  });

  it('are exact at the edges of uint256, with digits that cancel, and with zero groups in the middle', () => {
    const limit = 2n ** 256n - 1n;
    for (const scale of [0, 18, 38]) {
      check({ units: limit, scale }, { units: 1n, scale });
      check({ units: limit, scale }, { units: -limit, scale });
      check({ units: limit, scale }, { units: -limit + 1n, scale });
      check({ units: 10n ** 40n, scale }, { units: 1n, scale: 0 });
      check({ units: -(2n ** 255n), scale }, { units: -(2n ** 255n), scale });
    }
    check({ units: 10n ** 60n, scale: 0 }, { units: 1n, scale: 20 }, { units: -(10n ** 60n), scale: 0 });
    check({ units: 0n, scale: 38 });
  });

  it('are exact for any numbers', () => {
    const amount = fc.record({
      units: fc.oneof(
        fc.bigInt({ min: -(2n ** 256n), max: 2n ** 256n }),
        fc.bigInt({ min: -100_000n, max: 100_000n }),
        fc
          .tuple(fc.bigInt({ min: -9n, max: 9n }), fc.nat(70))
          .map(([digit, power]) => digit * 10n ** BigInt(power)),
      ),
      scale: fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 8, 18, 38),
    });
    fc.assert(
      fc.property(fc.array(amount, { minLength: 1, maxLength: 12 }), (amounts) => {
        check(...amounts);
      }),
      propertyOptions(1000),
    );
  });
});
