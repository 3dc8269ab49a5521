/** The warehouse in a few numbers, straight from the balance changes. */
import { sql } from 'kysely';
import { on, type Pool } from '../db/query.ts';

/** Counts over all balance changes. */
export interface Summary {
  readonly balance_changes: number;
  readonly accounts: number;
  readonly assets: number;
  /** Weeks that changes have come to. */
  readonly weeks: number;
  /** Assets whose changes do not sum to 0; anything but 0 means that a change is missing or doubled. */
  readonly nonzero_assets: number;
}

/** Reads the summary; scans all balance changes. */
export const readSummary = async (pool: Pool): Promise<Summary> => {
  const { rows } = await sql<Summary>`
    with by_key as materialized (
      select account_address, asset_id, count(*) as changes, sum(delta) as balance
        from strata.balance_changes group by account_address, asset_id
    ), by_asset as (
      select sum(balance) as total, sum(changes) as changes from by_key group by asset_id
    )
    select coalesce(sum(changes), 0)::bigint as balance_changes,
           (select count(distinct account_address) from by_key) as accounts,
           count(*) as assets,
           (select count(*) from strata.set_partitions('balance_changes') p
             where p.lower_bound <= (select max(b.max_time) from strata.stream_batches b)) as weeks,
           count(*) filter (where total <> 0) as nonzero_assets
      from by_asset`.execute(on(pool));
  return rows[0]!;
};

/** One balance, as people read it. */
export interface BalanceLine {
  readonly account: string;
  readonly asset: string;
  readonly balance: string;
  readonly changes: number;
}

/** The busiest balances: the most changes first; the zero address (mint and burn) is left out. */
export const busiestBalances = async (pool: Pool, limit: number): Promise<BalanceLine[]> => {
  const { rows } = await sql<BalanceLine>`
    select b.account, b.asset, b.balance::text as balance, busy.changes
      from (select account_address, asset_id, sum(change_count)::bigint as changes
              from strata.account_balances where account_address <> decode(repeat('00', 20), 'hex')
             group by account_address, asset_id order by changes desc limit ${limit}) busy
      join strata.balances_current b using (account_address, asset_id)
     order by busy.changes desc`.execute(on(pool));
  return rows;
};
