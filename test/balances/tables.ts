/** Reads balances, state and changes back as the oracle's lines, all of one snapshot, and compares. */
import { expect } from 'vitest';
import type { Client, Pool } from '../../src/db/query.ts';
import { foldAll, type Change, type Folded } from './oracle.ts';

const KEY = `encode(account_address, 'hex') || ' ' || asset_id`;
const MICROS = (column: string): string => `(extract(epoch from ${column}) * 1000000)::bigint`;

/** Assets that are looked at; null for all. */
type Assets = readonly string[] | null;

/** What the tables hold. */
export const storedTables = async (on: Client | Pool, assets: Assets): Promise<Folded> => {
  const { rows } = await on.query<{ kind: string; line: string }>(
    `select 'row' as kind, ${KEY} || ' ' || ${MICROS('"timestamp"')} || ' ' || trim_scale(balance) || ' ' || change_count as line
       from strata.account_balances where $1::bigint[] is null or asset_id = any ($1)
     union all
     select 'state', ${KEY} || ' ' || ${MICROS('"timestamp"')} || ' ' || trim_scale(balance)
       from strata.account_balances_current where $1::bigint[] is null or asset_id = any ($1)`,
    [assets],
  );
  const of = (kind: string): string[] =>
    rows.flatMap((row) => (row.kind === kind ? [row.line] : [])).toSorted();
  return { rows: of('row'), state: of('state') };
};

/** Units of a decimal text at a scale. */
const unitsOf = (text: string, scale: number): bigint => {
  const [whole = '0', fraction = ''] = text.split('.');
  return BigInt(`${whole}${fraction.padEnd(scale, '0')}`);
};

/** The changes that are stored. */
const storedChanges = async (on: Client | Pool, assets: Assets, scale: number): Promise<Change[]> => {
  const { rows } = await on.query<{ key: string; micros: string; delta: string }>(
    `select ${KEY} as key, ${MICROS('block_time')}::text as micros, trim_scale(delta)::text as delta
       from strata.balance_changes where $1::bigint[] is null or asset_id = any ($1)`,
    [assets],
  );
  return rows.map(({ key, micros, delta }) => ({
    key,
    micros: BigInt(micros),
    units: unitsOf(delta, scale),
  }));
};

/** Asserts that balances and state are what these changes fold to. */
export const expectFolded = (stored: Folded, expected: Folded): void => {
  expect(stored.rows).toEqual(expected.rows);
  expect(stored.state).toEqual(expected.state);
};

/** Asserts that balances and state are what the stored changes fold to, by the oracle, in one snapshot. */
export const expectExact = async (
  pool: Pool,
  grain: 'hour' | 'day' = 'hour',
  assets: Assets = null,
  scale = 18,
): Promise<Folded> => {
  const client = await pool.connect();
  try {
    await client.query('begin isolation level repeatable read read only');
    const changes = await storedChanges(client, assets, scale);
    const stored = await storedTables(client, assets);
    expectFolded(stored, foldAll(changes, grain, scale));
    return stored;
  } finally {
    await client.query('rollback');
    client.release();
  }
};
