/** The yardstick of the fold: balances and state from a list of changes, in a few lines of BigInt that share nothing with the SQL. */

/** One signed change; `units` are 10^-scale of the asset. */
export interface Change {
  /** `account asset`, as the tables are read back: hex of the account, id of the asset. */
  readonly key: string;
  /** Microseconds since 1970. */
  readonly micros: bigint;
  readonly units: bigint;
}

/** What the tables must hold, as lines: `key period balance change_count` and `key period balance`. */
export interface Folded {
  readonly rows: readonly string[];
  readonly state: readonly string[];
}

/** Length of a period in microseconds. */
export const PERIOD = { hour: 3_600_000_000n, day: 86_400_000_000n } as const;

/** `units` / 10^scale without trailing zeros, as trim_scale() shows it. */
export const decimal = (units: bigint, scale: number): string => {
  const digits = String(units < 0n ? -units : units).padStart(scale + 1, '0');
  const fraction = digits.slice(digits.length - scale).replace(/0+$/, '');
  const whole = digits.slice(0, digits.length - scale);
  return `${units < 0n ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
};

/** Start of the period of an instant. */
export const periodOf = (micros: bigint, period: bigint): bigint => {
  const since = ((micros % period) + period) % period;
  return micros - since;
};

/** Folds changes from nothing. */
export const foldAll = (changes: readonly Change[], grain: 'hour' | 'day', scale: number): Folded => {
  const rows: string[] = [];
  const state: string[] = [];
  for (const [key, ofKey] of Map.groupBy(changes, (change) => change.key)) {
    const periods = Map.groupBy(ofKey, (change) => periodOf(change.micros, PERIOD[grain]));
    let balance = 0n;
    let last = '';
    for (const period of [...periods.keys()].toSorted((a, b) => Number(a - b))) {
      const ofPeriod = periods.get(period)!;
      balance = ofPeriod.reduce((sum, change) => sum + change.units, balance);
      last = `${key} ${period} ${decimal(balance, scale)}`;
      rows.push(`${last} ${ofPeriod.length}`);
    }
    state.push(last);
  }
  return { rows: rows.toSorted(), state: state.toSorted() };
};
