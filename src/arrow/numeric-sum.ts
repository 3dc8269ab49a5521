/** Exact sums of PostgreSQL numeric payloads, for changes of one key that fold into one delta. */

/** What `numeric_send` writes for NaN and the infinities; neither can be summed. */
const SIGN_POSITIVE = 0x0000;
const SIGN_NEGATIVE = 0x4000;

const DIGIT_BASE = 10_000n;
const DIGIT_CHARACTERS = 4;

/** A sum in hand: `mantissa` × 10000^`exponent`, shown with `scale` decimals. */
interface Sum {
  readonly mantissa: bigint;
  readonly exponent: number;
  readonly scale: number;
}

const read = (view: DataView, pos: number): Sum => {
  const digits = view.getInt16(pos);
  const weight = view.getInt16(pos + 2);
  let mantissa = 0n;
  for (let index = 0; index < digits; index++)
    mantissa = mantissa * DIGIT_BASE + BigInt(view.getInt16(pos + 8 + 2 * index));
  const negative = view.getUint16(pos + 4) === SIGN_NEGATIVE;
  return {
    mantissa: negative ? -mantissa : mantissa,
    exponent: weight + 1 - digits,
    scale: view.getUint16(pos + 6),
  };
};

const add = (a: Sum, b: Sum): Sum => {
  const exponent = Math.min(a.exponent, b.exponent);
  const shifted = ({ mantissa, exponent: from }: Sum): bigint =>
    mantissa * DIGIT_BASE ** BigInt(from - exponent);
  return { mantissa: shifted(a) + shifted(b), exponent, scale: Math.max(a.scale, b.scale) };
};

/** A numeric ready to be written. */
export interface NumericSum {
  /** Bytes of its payload. */
  readonly bytes: number;
  write(out: DataView, pos: number): number;
}

/**
 * The sum of numeric payloads.
 *
 * @param starts where the payloads begin in `source`
 */
export const sumNumerics = (source: DataView, starts: readonly number[]): NumericSum => {
  let { mantissa, exponent, scale } = read(source, starts[0]!);
  for (let index = 1; index < starts.length; index++) {
    ({ mantissa, exponent, scale } = add({ mantissa, exponent, scale }, read(source, starts[index]!)));
  }
  const text = (mantissa < 0n ? -mantissa : mantissa).toString();
  const padded = text.padStart(Math.ceil(text.length / DIGIT_CHARACTERS) * DIGIT_CHARACTERS, '0');
  let last = padded.length;
  // Trailing zero digits are left out; those in the middle stay.
  while (last > 0 && padded.slice(last - DIGIT_CHARACTERS, last) === '0000') last -= DIGIT_CHARACTERS;
  const digits = last / DIGIT_CHARACTERS;
  const write = (out: DataView, pos: number): number => {
    out.setInt16(pos, digits);
    out.setInt16(pos + 2, digits === 0 ? 0 : padded.length / DIGIT_CHARACTERS - 1 + exponent);
    out.setUint16(pos + 4, digits > 0 && mantissa < 0n ? SIGN_NEGATIVE : SIGN_POSITIVE);
    out.setUint16(pos + 6, scale);
    for (let index = 0; index < digits; index++) {
      out.setInt16(
        pos + 8 + 2 * index,
        Number(padded.slice(DIGIT_CHARACTERS * index, DIGIT_CHARACTERS * (index + 1))),
      );
    }
    return pos + 8 + 2 * digits;
  };
  return { bytes: 8 + 2 * digits, write };
};
