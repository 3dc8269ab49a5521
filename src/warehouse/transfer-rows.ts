/** From the columns of a record batch to signed balance changes: rules applied, windows checked, assets named. */
import type { RecordBatch, Vector } from 'apache-arrow';
import type { ChangeBuffer } from '../arrow/changes.ts';
import { accountField, amountField, integerField, timeField } from '../arrow/fields.ts';
import type { AmountField, BytesField, NumberField } from '../arrow/fields.ts';
import type { TransfersConfig } from '../runtime/config.ts';
import { WarehouseError, withDetail } from '../runtime/errors.ts';
import { weekOf } from '../runtime/instant.ts';
import type { AssetBook, AssetId } from './assets.ts';
import type { RangePlace } from './datasets.ts';
import { outsideReason, type SaneWindow } from './partitions/ensure.ts';
import { rowAsJson, type Refused } from './quarantine.ts';
import type { RowCounter } from './row-counter.ts';
import type { RangeCount } from './state/store.ts';
import { fractionReason, hasFraction, type WholeUnits } from './whole-units.ts';

/** One signed change that a row makes. */
export interface Rule {
  /** Column of the account. */
  readonly account: string;
  readonly negate: boolean;
  /** Column of the amount. */
  readonly amount: string;
  /** Key of the asset where it is not the row's own, as a fee in the native coin is. */
  readonly asset: string | null;
}

/** Reads `to:+amount` or `tx_from:-fee@native`; the form was checked with the configuration. */
export const parseRule = (text: string): Rule => {
  const parts = /^(\w+):([+-])(\w+)(?:@(.+))?$/.exec(text);
  if (parts === null) {
    throw new WarehouseError('config', `${JSON.stringify(text)} is no rule`, {
      remedy: 'Write account:+amount or account:-amount.',
    });
  }
  const [, account = '', sign, amount = '', asset] = parts;
  return { account, negate: sign === '-', amount, asset: asset ?? null };
};

/** Whether the rules of an asset (null: the row's own) add as often as they take, amount by amount. */
const isZeroSum = (rules: readonly Rule[], asset: string | null): boolean => {
  const sums = new Map<string, number>();
  for (const rule of rules.filter((candidate) => candidate.asset === asset)) {
    sums.set(rule.amount, (sums.get(rule.amount) ?? 0) + (rule.negate ? -1 : 1));
  }
  return sums.values().every((sum) => sum === 0);
};

/** What the rows of a stream are read with: the same for all its batches. */
export interface Reading {
  readonly stream: string;
  readonly config: TransfersConfig;
  readonly rules: readonly Rule[];
  readonly assets: AssetBook;
  readonly wholeUnits: WholeUnits;
  readonly window: SaneWindow;
  readonly counter: RowCounter;
}

/** Where changes, the weeks they need and refused rows go. */
export interface ChangeSink {
  readonly changes: ChangeBuffer;
  readonly weeks: Set<number>;
  readonly refused: Refused[];
}

/** The columns one rule reads. */
interface Leg {
  readonly rule: Rule;
  readonly account: BytesField;
  readonly amount: AmountField;
  readonly assetBytes: Buffer | null;
  /** Whether the rules keep the sum over all accounts of this asset at zero. */
  readonly zeroSum: boolean;
}

/** The columns of one record batch, bound once. */
interface Columns {
  readonly block: NumberField;
  readonly time: NumberField;
  readonly ordinal: NumberField | null;
  readonly asset: BytesField;
  readonly tokenId: Vector | null;
  readonly legs: readonly Leg[];
}

const bindColumns = (batch: RecordBatch, { config, rules }: Reading): Columns => ({
  block: integerField(batch, config.block),
  time: timeField(batch, config.time),
  ordinal: config.ordinal === undefined ? null : integerField(batch, config.ordinal),
  asset: accountField(batch, config.asset),
  tokenId: config.token_id === undefined ? null : tokenIdColumn(batch, config.token_id),
  legs: rules.map((rule) => ({
    rule,
    account: accountField(batch, rule.account),
    amount: amountField(batch, rule.amount),
    assetBytes: rule.asset === null ? null : Buffer.from(rule.asset),
    zeroSum: isZeroSum(rules, rule.asset),
  })),
});

/** A numeric's payload on its way from the column to the change buffer; grows to the widest amount met. */
let scratch = Buffer.alloc(256);
let scratchView = new DataView(scratch.buffer, scratch.byteOffset, scratch.length);

const writeAmount = (amount: AmountField, row: number, negate: boolean): number => {
  const bound = amount.bound(row);
  if (bound > scratch.length) {
    scratch = Buffer.alloc(bound * 2);
    scratchView = new DataView(scratch.buffer, scratch.byteOffset, scratch.length);
  }
  return amount.write(row, scratchView, 0, negate);
};

/** Largest value of a PostgreSQL integer. */
const INT4_MAX = 2 ** 31 - 1;

/**
 * Appends the changes of some rows of a batch.
 *
 * @param rows indices of the rows that belong to `place`; null for all
 * @throws WarehouseError `data` naming stream, block, column and row of a value that has no place in the ledger
 */
export const appendRows = (
  reading: Reading,
  batch: RecordBatch,
  rows: readonly number[] | null,
  place: RangePlace,
  sink: ChangeSink,
): RangeCount => {
  const columns = bindColumns(batch, reading);
  const { sourceId, range } = place;
  const total = rows === null ? batch.numRows : rows.length;
  let minTime = Infinity;
  let maxTime = -Infinity;
  let refused = 0;
  let lastWeek = Number.NaN;
  let at = { block: range.start, row: 0 };
  try {
    for (let index = 0; index < total; index++) {
      const row = rows === null ? index : rows[index]!;
      at.row = row;
      const block = required(columns.block, row, reading.config.block);
      at.block = block;
      if (block < range.start || block > range.end) {
        throw new WarehouseError(
          'protocol',
          `a row of block ${block} came with the range ${range.start}–${range.end}`,
          {
            column: reading.config.block,
            remedy: 'Check that `block` names the column the server counts its ranges by.',
          },
        );
      }
      const time = required(columns.time, row, reading.config.time);
      const position =
        columns.ordinal === null
          ? reading.counter.next(place, block)
          : required(columns.ordinal, row, reading.config.ordinal!);
      const reason =
        outsideReason(reading.window, time, reading.config.time, 'balance_changes') ??
        fractionFault(reading, columns, range.network, row);
      if (reason !== null) {
        refused++;
        sink.refused.push({ sourceId, block, reason, detail: rowAsJson(batch, row) });
        continue;
      }
      const week = weekOf(time);
      if (week !== lastWeek) sink.weeks.add((lastWeek = week));
      if (time < minTime) minTime = time;
      if (time > maxTime) maxTime = time;
      appendLegs(reading, columns, range.network, row, time, block, position, sink.changes);
    }
  } catch (thrown) {
    if (!(thrown instanceof WarehouseError)) throw thrown;
    throw withDetail(thrown, {
      stream: reading.stream,
      network: range.network,
      block: at.block,
      row: at.row,
    });
  }
  const loaded = total - refused;
  return {
    rows: loaded * reading.rules.length,
    quarantined: refused,
    minTime: loaded === 0 ? null : minTime,
    maxTime: loaded === 0 ? null : maxTime,
  };
};

const appendLegs = (
  reading: Reading,
  columns: Columns,
  network: string,
  row: number,
  time: number,
  block: number,
  position: number,
  changes: ChangeBuffer,
): void => {
  const { legs } = columns;
  for (let leg = 0; leg < legs.length; leg++) {
    const { rule, account, amount } = legs[leg]!;
    if (account.isNull(row)) throw nullValue(rule.account);
    if (amount.isNull(row)) throw nullValue(rule.amount);
    const id = assetOf(reading, columns, network, row, legs[leg]!);
    const ordinal = position * legs.length + leg;
    if (ordinal > INT4_MAX || ordinal < 0) {
      throw new WarehouseError('data', `position ${position} in the block is too large`, {
        column: reading.config.ordinal ?? '(counted)',
        remedy: 'Map `ordinal` to a position that starts at 0 in each block.',
      });
    }
    const end = writeAmount(amount, row, rule.negate);
    account.seek(row);
    changes.append(
      account.bytes,
      account.start,
      account.end,
      id.high,
      id.low,
      time,
      block,
      ordinal,
      scratch,
      0,
      end,
    );
  }
};

/** Why a row's amounts have no place where decimals are known; null when they have one. */
const fractionFault = (reading: Reading, columns: Columns, network: string, row: number): string | null => {
  const { wholeUnits } = reading;
  if (!wholeUnits.any) return null;
  for (const leg of columns.legs) {
    const isExact = leg.amount.isNull(row) || !hasFraction(leg.amount, row);
    if (!isExact && wholeUnits.has(assetOf(reading, columns, network, row, leg)))
      return fractionReason(leg.rule.amount);
  }
  return null;
};

const assetOf = (
  reading: Reading,
  columns: Columns,
  network: string,
  row: number,
  { assetBytes, zeroSum }: Leg,
): AssetId => {
  if (assetBytes !== null)
    return reading.assets.idOf(network, assetBytes, 0, assetBytes.length, null, zeroSum);
  const { asset, tokenId } = columns;
  if (asset.isNull(row)) throw nullValue(reading.config.asset);
  asset.seek(row);
  const id: unknown = tokenId?.get(row) ?? null;
  return reading.assets.idOf(
    network,
    asset.bytes,
    asset.start,
    asset.end,
    id === null ? null : tokenIdText(id, reading.config.token_id!),
    zeroSum,
  );
};

const tokenIdColumn = (batch: RecordBatch, column: string): Vector => {
  const found = batch.getChild(column);
  if (found !== null) return found;
  throw unknownColumn(column, '`token_id`');
};

const unknownColumn = (column: string, setting: string): WarehouseError =>
  new WarehouseError('config', `the query has no column ${column}`, {
    column,
    remedy: `Mend ${setting}, or select the column.`,
  });

const tokenIdText = (id: unknown, column: string): string => {
  const text = typeof id === 'string' || typeof id === 'bigint' || typeof id === 'number' ? String(id) : '';
  // 78 digits hold 2^256.
  if (/^\d{1,78}$/.test(text)) return BigInt(text).toString();
  throw new WarehouseError('data', 'a token id must be a whole number, as an integer or as decimal text', {
    column,
    value: text.slice(0, 80),
    remedy: 'Cast it to text in the query.',
  });
};

const required = (field: NumberField, row: number, column: string): number => {
  if (field.isNull(row)) throw nullValue(column);
  return field.at(row);
};

const nullValue = (column: string): WarehouseError =>
  new WarehouseError('data', `column ${column} is null, which a balance change cannot be`, {
    column,
    remedy: 'Filter such rows in the query, or give a value with coalesce().',
  });

/** The rows of a batch by the range they belong to; with one range all rows are its own. Those of replayed ranges are left out. */
export const rowsByPlace = (
  batch: RecordBatch,
  places: readonly RangePlace[],
  networkColumn: string | undefined,
): Map<RangePlace, readonly number[] | null> => {
  const [first] = places;
  if (first === undefined) return new Map();
  if (places.length === 1) return new Map([[first, null]]);
  if (networkColumn === undefined) {
    throw new WarehouseError(
      'config',
      `the stream spans the networks ${places.map((place) => place.range.network).join(', ')}`,
      {
        remedy: 'Set `network_column` to the column that names the network of a row.',
      },
    );
  }
  const byNetwork = new Map(places.map((place) => [place.range.network, place]));
  const rows = new Map<RangePlace, number[]>(places.map((place) => [place, []]));
  const names = batch.getChild(networkColumn);
  if (names === null) throw unknownColumn(networkColumn, '`network_column`');
  for (let row = 0; row < batch.numRows; row++) {
    const place = byNetwork.get(String(names.get(row)));
    if (place === undefined)
      throw new WarehouseError(
        'protocol',
        `a row names network ${String(names.get(row))}, which its ranges do not`,
        { row, column: networkColumn },
      );
    rows.get(place)?.push(row);
  }
  for (const place of places) if (place.replayed === true) rows.delete(place);
  return rows;
};
