/** Amounts are in an asset's smallest unit: where `assets.decimals` is known, a fraction of that unit has no place. */
import { sql } from 'kysely';
import type { AmountField } from '../arrow/fields.ts';
import { on, type Pool } from '../db/query.ts';
import { assetIdText, type AssetId } from './assets.ts';

/** The assets whose decimals are known. */
export interface WholeUnits {
  /** False spares the caller looking at each amount. */
  readonly any: boolean;
  has(id: AssetId): boolean;
}

/** No asset's decimals are known. */
export const NO_WHOLE_UNITS: WholeUnits = { any: false, has: () => false };

/** Reads which assets of a standard have known decimals; what is set later counts from the next run on. */
export const loadWholeUnits = async (pool: Pool, standard: string): Promise<WholeUnits> => {
  const rows = await on(pool)
    .selectFrom('assets')
    .select(sql<string>`asset_id::text`.as('asset_id'))
    .where('standard', '=', standard)
    .where('decimals', 'is not', null)
    .execute();
  const known = new Set(rows.map((row) => row.asset_id));
  // Asset books hand out one object per asset, so that a big integer need not be printed for each row.
  const met = new WeakMap<AssetId, boolean>();
  const judge = (id: AssetId): boolean => {
    const has = known.has(assetIdText(id));
    met.set(id, has);
    return has;
  };
  return { any: known.size > 0, has: (id) => met.get(id) ?? judge(id) };
};

/** Bytes of a numeric's payload before its digits, of two bytes each. */
const HEADER_BYTES = 8;

let scratch = new DataView(new ArrayBuffer(256));

/** Whether the amount of a row has digits behind the decimal point, zeros apart. */
export const hasFraction = (amount: AmountField, row: number): boolean => {
  const bound = amount.bound(row);
  if (bound > scratch.byteLength) scratch = new DataView(new ArrayBuffer(bound * 2));
  amount.write(row, scratch, 0, false);
  const digits = scratch.getInt16(0);
  for (let index = Math.max(0, scratch.getInt16(2) + 1); index < digits; index++) {
    if (scratch.getInt16(HEADER_BYTES + 2 * index) !== 0) return true;
  }
  return false;
};

/** Why such a row is quarantined. */
export const fractionReason = (column: string): string => `${column} has more decimals than its asset`;
