/** Reads numeric payloads back as text, and writes numbers as text by BigInt: the yardstick of the numeric tests. */

/** The text PostgreSQL shows for a numeric payload; throws for one that is not in canonical form. */
export const numericText = (view: DataView, end: number): string => {
  const count = view.getInt16(0);
  const weight = view.getInt16(2);
  const sign = view.getUint16(4);
  const dscale = view.getUint16(6);
  if (end !== 8 + 2 * count) throw new Error(`${end} bytes for ${count} digits`);
  const groups = Array.from({ length: count }, (_, index) => view.getUint16(8 + 2 * index));
  if (groups[0] === 0 || groups.at(-1) === 0) throw new Error('leading or trailing zero digits');
  if (groups.some((group) => group > 9999)) throw new Error('a digit beyond 9999');
  const digits = groups.map((group) => String(group).padStart(4, '0')).join('');
  const places = 4 * (weight + 1);
  const whole = places > 0 ? digits.slice(0, places).padEnd(places, '0') : '';
  const rest = places > 0 ? digits.slice(places) : '0'.repeat(-places) + digits;
  if (/[1-9]/.test(rest.slice(dscale))) throw new Error('digits beyond the dscale');
  const fraction = dscale > 0 ? `.${rest.slice(0, dscale).padEnd(dscale, '0')}` : '';
  return `${sign === 0x4000 ? '-' : ''}${whole.replace(/^0+/, '') || '0'}${fraction}`;
};

/** value / 10^scale in plain digits, with max(scale, 0) decimal places. */
export const decimalText = (value: bigint, scale: number): string => {
  if (scale <= 0) return String(value * 10n ** BigInt(-scale));
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, '0');
  return `${value < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
};
