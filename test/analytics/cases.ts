/** What the exact tests ask about: instants, spans, units; and the oracle's rows of a history. */
import type { PoolClient } from 'pg';
import { DAY, HOUR, WEEK, weekAt, WEEKS, type Asset, type History } from './history.ts';
import { amount, isBurn, rowsOf, type Row, type Unit } from './oracle.ts';

/** A history in the database, and a session to ask in. */
export interface Session {
  readonly history: History;
  readonly client: PoolClient;
}

export const END = weekAt(WEEKS.all);
/** Before changes are retained, at the edges of weeks and periods, within a period, and after the end. */
export const INSTANTS = [
  weekAt(WEEKS.opened),
  weekAt(WEEKS.opened) + 3n * DAY + 30n * 60_000_000n,
  weekAt(WEEKS.changes) - 1n,
  weekAt(WEEKS.changes),
  weekAt(WEEKS.hashed) + 2n * DAY + 12n * HOUR + 1n,
  END - 1n,
  END + WEEK,
];
/** A span over all kinds of weeks, and one that begins and ends within periods. */
export const SPANS: readonly (readonly [from: bigint, to: bigint])[] = [
  [weekAt(WEEKS.opened), END],
  [weekAt(WEEKS.changes) + 5n * HOUR + 7n, END - 2n * DAY - 1n],
];
export const UNITS: readonly Unit[] = ['day', 'week', 'month'];

/** An asset, a span and a unit. */
export type Case = readonly [asset: Asset, from: bigint, to: bigint, unit: Unit];

/** Every span in every unit, for these assets. */
export const casesOf = (assets: readonly Asset[], units = UNITS): Case[] =>
  assets.flatMap((asset) =>
    SPANS.flatMap(([from, to]) => units.map((unit): Case => [asset, from, to, unit])),
  );

/** A period's start, or where balances begin to be retained within it. */
export const retainedFrom = (start: bigint): bigint =>
  start < weekAt(WEEKS.opened) ? weekAt(WEEKS.opened) : start;

/** Rows of all accounts in an asset. */
const allRows = (history: History, asset: Asset): Row[] =>
  history.accounts.flatMap((account) => rowsOf(history, asset, account));

/** Rows of accounts that somebody holds. */
export const heldRows = (history: History, asset: Asset): Row[] =>
  allRows(history, asset).filter(({ account }) => !isBurn(account));

/** A signed movement. */
export interface Movement {
  readonly account: string;
  readonly at: bigint;
  readonly delta: bigint;
}

/** Changes of a ledger, differences of observed balances. */
export const movementsOf = (history: History, asset: Asset, from: bigint, to: bigint): Movement[] =>
  asset.observed
    ? allRows(history, asset)
        .filter(({ at }) => at >= from && at < to)
        .map(({ account, at, balance, prior }) => ({ account, at, delta: balance - prior }))
    : history.events
        .filter((event) => event.asset === asset && event.micros >= from && event.micros < to)
        .map(({ account, micros, units }) => ({ account, at: micros, delta: units }));

/** What strata.asset_flows() says of some movements. */
export const flowOf = (asset: Asset, moves: readonly Movement[]): object => {
  const inflow = moves.reduce((sum, { delta }) => sum + (delta > 0n ? delta : 0n), 0n);
  const outflow = moves.reduce((sum, { delta }) => sum - (delta < 0n ? delta : 0n), 0n);
  return {
    inflow: amount(asset, inflow),
    outflow: amount(asset, outflow),
    gross: amount(asset, inflow + outflow),
    net: amount(asset, inflow - outflow),
    accounts: new Set(moves.map(({ account }) => account)).size,
  };
};
