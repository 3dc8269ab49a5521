/** What the tables must hold, counted the slow and certain way: plain BigInt over the chain's own record batches. */
import { createHash } from 'node:crypto';
import type { Chain } from '../../src/devnet/source.ts';
import type { Pool } from '../../src/db/query.ts';
import { expect } from 'vitest';

/** Bytes as plain hex. */
const hex = (value: unknown): string => Buffer.from(value as Uint8Array).toString('hex');

/** First 8 bytes of SHA-256 over the key's parts, as a signed integer. */
const assetOf = (network: string, token: string): bigint =>
  createHash('sha256').update([network, 'erc20', token, ''].join('\u001f')).digest().readBigInt64BE(0);

/**
 * The balance changes that blocks `from`..`to` (both inclusive; default all) make by the rules `to:+value, from:-value`:
 * one line each, sorted.
 */
export const changesOf = (chain: Chain, from = chain.earliest, to = chain.view().head ?? -1): string[] => {
  const view = chain.view();
  const lines: string[] = [];
  const assets = new Map<string, bigint>();
  for (let block = from; block <= to; block += 1) {
    const batch = view.batch('transfers', block, block);
    const read = (name: string, row: number): unknown => batch.getChild(name)?.get(row);
    for (let row = 0; row < batch.numRows; row += 1) {
      const token = `0x${hex(read('token', row))}`;
      const asset = assets.get(token) ?? assetOf(chain.network, token);
      assets.set(token, asset);
      const position = 2n * BigInt(read('log_index', row) as number);
      const value = BigInt(read('value', row) as string);
      const place = (ordinal: bigint): string => `${asset} ${view.timestampOf(block)} ${block} ${ordinal}`;
      lines.push(`${hex(read('to', row))} ${place(position)} ${value}`);
      lines.push(`${hex(read('from', row))} ${place(position + 1n)} ${-value}`);
    }
  }
  return lines.toSorted();
};

/** The balance changes of a stream as the database holds them, in the lines of {@link changesOf}. */
export const storedChanges = async (pool: Pool, stream: string): Promise<string[]> => {
  const { rows } = await pool.query<{ line: string }>(
    `select concat_ws(' ', encode(c.account_address, 'hex'), c.asset_id, extract(epoch from c.block_time)::bigint, c.block_num,
                      c.ordinal, c.delta) as line
       from strata.balance_changes c join strata.sources s using (source_id) where s.stream = $1`,
    [stream],
  );
  return rows.map(({ line }) => line).toSorted();
};

/** Everything a ledger row says, its commit time apart. */
export interface LedgerRow {
  readonly start: number;
  readonly end: number;
  readonly hash: string | null;
  readonly prev: string | null;
  readonly rows: number;
  readonly quarantined: number;
}

/** The ledger of a stream on one network, in block order. */
export const ledgerOf = async (pool: Pool, stream: string, network = 'devnet'): Promise<LedgerRow[]> => {
  const { rows } = await pool.query<LedgerRow>(
    `select b.start_block as start, b.end_block as "end", b.hash, b.prev_hash as prev, b.row_count as rows, b.quarantined
       from strata.stream_batches b join strata.sources s using (source_id)
      where s.stream = $1 and s.network = $2 order by b.start_block`,
    [stream, network],
  );
  return rows;
};

/**
 * Asserts that the ledger covers blocks `from`..`to` without hole or overlap, that every hash in it is the chain's, and
 * that its rows count to `rows`.
 */
export const expectLedger = async (
  pool: Pool,
  stream: string,
  chain: Chain,
  wanted: { readonly from?: number; readonly to?: number; readonly rows?: number },
): Promise<void> => {
  const ledger = await ledgerOf(pool, stream, chain.network);
  const view = chain.view();
  let next = wanted.from ?? chain.earliest;
  for (const { start, end, hash, prev } of ledger) {
    expect(start, 'start of the next ledger row').toBe(next);
    expect(end).toBeGreaterThanOrEqual(start);
    if (hash !== null) expect(hash, `hash of block ${end}`).toBe(view.hashOf(end));
    if (prev !== null) expect(prev, `parent of block ${start}`).toBe(view.parentHashOf(start));
    next = end + 1;
  }
  expect(next, 'block behind the ledger').toBe((wanted.to ?? view.head ?? -1) + 1);
  if (wanted.rows !== undefined) expect(ledger.reduce((sum, row) => sum + row.rows, 0)).toBe(wanted.rows);
};

/** Lines that are missing, and lines that should not be there; the first few of each. */
const differences = (actual: readonly string[], expected: readonly string[]): unknown => {
  const surplus = (lines: readonly string[], others: readonly string[]): string[] => {
    const counts = new Map<string, number>();
    for (const line of others) counts.set(line, (counts.get(line) ?? 0) + 1);
    return lines.filter((line) => {
      const left = counts.get(line) ?? 0;
      counts.set(line, left - 1);
      return left <= 0;
    });
  };
  const shown = (lines: readonly string[]): string[] =>
    lines.length > 4 ? [...lines.slice(0, 4), `and ${lines.length - 4} more`] : [...lines];
  return { missing: shown(surplus(expected, actual)), extra: shown(surplus(actual, expected)) };
};

/** Asserts that two lists hold the same lines, each as often. */
export const expectSame = (actual: readonly string[], expected: readonly string[]): void =>
  expect(differences(actual, expected)).toEqual({ missing: [], extra: [] });

/** Asserts that balance changes and ledger of a `transfers` stream are exactly those of the chain as it is now. */
export const expectChain = async (pool: Pool, stream: string, chain: Chain): Promise<void> => {
  const expected = changesOf(chain);
  expectSame(await storedChanges(pool, stream), expected);
  await expectLedger(pool, stream, chain, { rows: expected.length });
};

/** Assets whose changes do not sum to zero. */
export const unbalancedAssets = async (pool: Pool): Promise<number> => {
  const { rows } = await pool.query<{ unbalanced: number }>(
    `select count(*)::int as unbalanced from (select asset_id from strata.balance_changes group by asset_id having sum(delta) <> 0) a`,
  );
  return rows[0]!.unbalanced;
};

/** Accounts and assets whose balance, in the state or in their last period, is not the sum of their changes; a few of them. */
export const wrongBalances = async (pool: Pool): Promise<unknown[]> => {
  const { rows } = await pool.query<Record<string, unknown>>(
    `with sums as (select account_address, asset_id, sum(delta) as balance from strata.balance_changes group by 1, 2),
          last as (select distinct on (account_address, asset_id) account_address, asset_id, balance from strata.account_balances
                    order by account_address, asset_id, "timestamp" desc)
     select encode(account_address, 'hex') as account, asset_id::text as asset, s.balance as summed, c.balance as state, l.balance as last
       from sums s full join strata.account_balances_current c using (account_address, asset_id) full join last l using (account_address, asset_id)
      where coalesce(s.balance, 0) <> coalesce(c.balance, 0) or coalesce(s.balance, 0) <> coalesce(l.balance, 0) limit 3`,
  );
  return rows;
};

/** Sessions of this database that sit in a transaction: what a failed load must never leave behind. */
export const openTransactions = async (pool: Pool): Promise<string[]> => {
  const { rows } = await pool.query<{ query: string }>(
    `select query from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and state like 'idle in transaction%'`,
  );
  return rows.map(({ query }) => query);
};

/** Everything a failed load must leave as it was: rows, ledger, quarantine, assets of the whole database. */
export const fingerprint = async (pool: Pool): Promise<unknown> => {
  const { rows } = await pool.query(
    `select (select count(*) from strata.balance_changes) as changes, (select count(*) from strata.stream_batches) as batches,
            (select max(end_block) from strata.stream_batches) as position, (select count(*) from strata.quarantine) as quarantined,
            (select count(*) from strata.assets) as assets`,
  );
  return rows[0];
};
