/** The yardstick of the analytics: the same questions answered from the list of events, in BigInt, row by row and without any SQL. */
import { accountBytes } from '../../src/warehouse/account.ts';
import { decimal, periodOf, PERIOD } from '../balances/oracle.ts';
import {
  BURN_ACCOUNT,
  DAY,
  HOUR,
  NULL_ACCOUNT,
  WEEK,
  weekAt,
  WEEKS,
  type Asset,
  type Event,
  type History,
} from './history.ts';

/** A balance row: the balance at the end of a period that had a change. */
export interface Row {
  readonly account: string;
  readonly at: bigint;
  readonly balance: bigint;
  /** Balance before it. */
  readonly prior: bigint;
  readonly changes: number;
  /** USD value in cents. */
  readonly cents: bigint | null;
}

/** Units of periods. */
export type Unit = 'hour' | 'day' | 'week' | 'month';

/** A period and where the next one begins. */
export interface Period {
  readonly start: bigint;
  readonly end: bigint;
}

const byTime = (a: { readonly micros: bigint }, b: { readonly micros: bigint }): number =>
  a.micros < b.micros ? -1 : a.micros > b.micros ? 1 : 0;

const eventsOf = ({ events }: History, asset: Asset, account: string): Event[] =>
  events.filter((event) => event.asset === asset && event.account === account).toSorted(byTime);

/** Every balance row an account has ever had in an asset. */
export const rowsOf = (history: History, asset: Asset, account: string): Row[] => {
  const rows: Row[] = [];
  let balance = 0n;
  for (const [at, events] of Map.groupBy(eventsOf(history, asset, account), ({ micros }) =>
    periodOf(micros, PERIOD[asset.grain]),
  )) {
    const prior = balance;
    const last = events.at(-1)!;
    balance = asset.observed ? last.units : events.reduce((sum, { units }) => sum + units, prior);
    rows.push({
      account,
      at,
      balance,
      prior,
      changes: asset.observed ? 1 : events.length,
      cents: last.cents,
    });
  }
  return rows;
};

/** Start of the period of an instant. */
export const startOf = (unit: Unit, micros: bigint): bigint => {
  if (unit === 'week') return weekAt(0) + periodOf(micros - weekAt(0), WEEK);
  if (unit !== 'month') return periodOf(micros, unit === 'hour' ? HOUR : DAY);
  const date = new Date(Number(micros / 1000n));
  return BigInt(Date.UTC(date.getUTCFullYear(), date.getUTCMonth())) * 1000n;
};

const nextOf = (unit: Unit, start: bigint): bigint =>
  startOf(
    unit,
    start + (unit === 'month' ? 32n * DAY : unit === 'week' ? WEEK : unit === 'day' ? DAY : HOUR),
  );

/** The periods that a span touches. */
export const periodsOf = (unit: Unit, from: bigint, to: bigint): Period[] => {
  const periods: Period[] = [];
  for (let start = startOf(unit, from); start < to; start = nextOf(unit, start))
    periods.push({ start, end: nextOf(unit, start) });
  return periods;
};

/** Balance at the end of the periods that begin before an instant. */
export const balanceBefore = (rows: readonly Row[], cut: bigint): bigint =>
  rows.findLast(({ at }) => at < cut)?.balance ?? 0n;

/** Balance at an instant: exact to it where changes are retained, else to the end of the period. */
export const balanceAt = (history: History, asset: Asset, account: string, instant: bigint): bigint => {
  const period = periodOf(instant, PERIOD[asset.grain]);
  const until =
    !asset.observed && period < weekAt(WEEKS.changes) ? period + PERIOD[asset.grain] - 1n : instant;
  const events = eventsOf(history, asset, account).filter(({ micros }) => micros <= until);
  return asset.observed ? (events.at(-1)?.units ?? 0n) : events.reduce((sum, { units }) => sum + units, 0n);
};

/** Whether nobody holds what this account has. */
export const isBurn = (account: string): boolean => account === NULL_ACCOUNT || account === BURN_ACCOUNT;

const compareAccounts = (a: string, b: string): number => Buffer.compare(accountBytes(a), accountBytes(b));

/** Holders and what they hold, the richest first. */
export const holdersAt = (
  history: History,
  asset: Asset,
  instant: bigint,
): { account: string; balance: bigint }[] =>
  history.accounts
    .filter((account) => !isBurn(account))
    .map((account) => ({ account, balance: balanceAt(history, asset, account, instant) }))
    .filter(({ balance }) => balance > 0n)
    .toSorted((a, b) =>
      a.balance === b.balance ? compareAccounts(a.account, b.account) : a.balance > b.balance ? -1 : 1,
    );

/** part / whole, cut off behind 18 decimals. */
export const ratio = (part: bigint, whole: bigint): string | null =>
  whole === 0n ? null : decimal((part * 10n ** 18n) / whole, 18);

/** Units as whole units of the asset. */
export const amount = (asset: Asset, units: bigint): string => decimal(units, asset.decimals);

const sum = (numbers: readonly bigint[]): bigint => numbers.reduce((total, number) => total + number, 0n);

/** What strata.concentration() gives. */
export const concentration = (history: History, asset: Asset, instant: bigint, top: number): unknown => {
  const balances = holdersAt(history, asset, instant).map(({ balance }) => balance);
  const total = sum(balances);
  const count = balances.length;
  const poorest = balances.toReversed();
  const weighted = sum(poorest.map((balance, index) => BigInt(2 * (index + 1) - count - 1) * balance));
  let nakamoto = 0;
  for (let held = 0n; nakamoto < count && held * 2n <= total; nakamoto++) held += balances[nakamoto]!;
  const poor = sum(poorest.slice(0, Math.floor((count * 4) / 10)));
  return {
    holders: count,
    amount: amount(asset, total),
    gini: count === 0 ? null : ratio(weighted, BigInt(count) * total),
    top_share: count === 0 ? null : ratio(sum(balances.slice(0, top)), total),
    palma: ratio(sum(balances.slice(0, Math.ceil(count / 10))), poor),
    nakamoto,
  };
};

/** Time-weighted average, opening and closing balance of an account over a span; undefined where it had nothing. */
export const timeWeighted = (
  history: History,
  asset: Asset,
  account: string,
  from: bigint,
  to: bigint,
): { average: string; sort: bigint; opening: string; closing: string; changes: number } | undefined => {
  const rows = rowsOf(history, asset, account);
  const within = rows.filter(({ at }) => at >= from && at < to);
  const opening = balanceBefore(rows, from);
  if (opening === 0n && within.every(({ balance }) => balance === 0n)) return undefined;
  const steps = [{ at: from, balance: opening }, ...within];
  const weighted = sum(steps.map(({ at, balance }, index) => balance * ((steps[index + 1]?.at ?? to) - at)));
  const average = (weighted * 10n ** 18n) / (to - from);
  return {
    average: decimal(average, 18 + asset.decimals),
    sort: average,
    opening: amount(asset, opening),
    closing: amount(asset, steps.at(-1)!.balance),
    changes: within.reduce((count, { changes }) => count + changes, 0),
  };
};
