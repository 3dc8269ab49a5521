/** Makes balances anew from the changes they come from. */
import { sql } from 'kysely';
import { on, type Pool } from '../db/query.ts';
import { accountBytes } from './account.ts';

/** What to rebuild; null is everything. */
export interface RebuildScope {
  readonly account: string | null;
  readonly assetId: string | null;
  readonly from: Date | null;
}

/**
 * Recomputes the balances of a scope in one transaction; loads that fold wait until it has committed.
 *
 * @returns the balance rows written
 */
export const rebuildBalances = async (
  pool: Pool,
  { account, assetId, from }: RebuildScope,
): Promise<number> => {
  const bytes = account === null ? null : accountBytes(account);
  const { rows } = await sql<{ rebuilt: number }>`
    select strata.rebuild_balances(${bytes}::bytea, ${assetId}::bigint, ${from}::timestamptz) as rebuilt`.execute(
    on(pool),
  );
  return rows[0]?.rebuilt ?? 0;
};

/** Balance of an account in an asset at an instant; see strata.balance_at(). */
export const balanceAt = async (
  pool: Pool,
  account: string,
  assetId: string,
  instant: Date,
): Promise<string> => {
  const { rows } = await sql<{ balance: string }>`
    select strata.balance_at(${accountBytes(account)}::bytea, ${assetId}::bigint, ${instant}::timestamptz)::text as balance`.execute(
    on(pool),
  );
  return rows[0]?.balance ?? '0';
};
