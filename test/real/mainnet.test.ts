/** Real blocks of Ethereum, served over Flight and loaded: every transfer, log and transaction equal to the record. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { replayChain } from '../../src/devnet/replay.ts';
import type { ReplayChain } from '../../src/devnet/replay.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import type { Devnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { load } from '../jobs/loading.ts';
import { expectLedger, expectSame, unbalancedAssets } from '../jobs/oracle.ts';

/** Recorded blocks that lie beside the project on the machines it is made on; they are not part of it. */
const DATA = new URL('../../../shared/data/', import.meta.url).pathname;
const PREFIX = 'mainnet-17173049-';
const FIRST_BLOCK = 17_173_049;
/** What the record's own README says of its balances. */
const BALANCES_SHA256 = '3257d1cb56008e78ae22c4232a1c6c20a8d1eae4ffc3f5c87a29e08be58ddaba';

const isThere = existsSync(`${DATA}${PREFIX}blocks.jsonl`);
if (!isThere) console.warn(`LEFT OUT: the tests on real blocks, because ${DATA} is not there`);

/** The lines of a record as objects; each number stays the text it is written as, for JSON.parse would round it. */
const recordOf = (name: string): Record<string, unknown>[] =>
  readFileSync(`${DATA}${PREFIX}${name}.jsonl`, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map(
      (line) =>
        JSON.parse(
          line.replaceAll(
            /("(?:[^"\\]|\\.)*")|(-?\d[\d.eE+-]*)/g,
            (whole, text?: string) => text ?? `"#${whole}"`,
          ),
        ) as Record<string, unknown>,
    );

/** A value of the record as text: numbers without their mark, lists joined. */
const shown = (value: unknown): string | null => {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return value.map(shown).join(' ');
  if (typeof value !== 'string') throw new Error('a record holds text, marked numbers, lists and nulls only');
  return value.replace(/^#/, '');
};

describe.runIf(isThere)('Ethereum blocks 17173049 and 17173050', () => {
  const database = useDatabase();
  let devnet: Devnet<ReplayChain>;
  beforeAll(async () => {
    devnet = await startDevnet({ chain: replayChain(DATA), rowsPerMessage: 50 });
  });
  afterAll(() => devnet.stop());

  test('291 transfers become 582 changes, and their sums the published balances', async () => {
    const settings = {
      load: 'transfers',
      query:
        'SELECT _block_num, timestamp, log_index, token_address, from_address, to_address, value FROM token_transfers',
      asset: 'token_address',
      ordinal: 'log_index',
      rules: ['to_address:+value', 'from_address:-value'],
    };
    const result = await load({
      pool: database.pool,
      url: devnet.url,
      stream: 'mainnet_transfers',
      settings,
    });
    expect(result).toMatchObject({ end: 'complete', rows: 582, blocks: 2, quarantined: 0 });
    await expectLedger(database.pool, 'mainnet_transfers', devnet.chain, { rows: 582 });
    for (const balances of [
      'select account_address, asset_id, sum(delta) as balance from strata.balance_changes group by 1, 2',
      'select account_address, asset_id, balance from strata.account_balances_current',
      'select distinct on (account_address, asset_id) account_address, asset_id, balance from strata.account_balances order by 1, 2, "timestamp" desc',
    ]) {
      const { rows } = await database.pool.query<{ line: string; balance: string }>(
        `select '0x' || encode(account_address, 'hex') || ' ' || a.asset_key || ' ' || balance::text as line, balance::text as balance
           from (${balances}) b join strata.assets a using (asset_id)`,
      );
      expect(rows).toHaveLength(404);
      expect(rows.filter(({ balance }) => balance !== '0')).toHaveLength(388);
      const lines = rows
        .map(({ line }) => line)
        .toSorted()
        .join('\n');
      expect(createHash('sha256').update(lines).digest('hex'), balances).toBe(BALANCES_SHA256);
    }
    expect(await unbalancedAssets(database.pool)).toBe(0);
  });

  const HEX = (column: string): string => `'0x' || encode("${column}", 'hex')`;
  const TEXT = (column: string): string => `"${column}"::text`;

  test.each([
    [
      'logs',
      681,
      {
        timestamp: ['block_timestamp', 'extract(epoch from "timestamp")::bigint::text'],
        block_num: ['block_number', TEXT('block_num')],
        block_hash: ['block_hash', HEX('block_hash')],
        transaction_hash: ['transaction_hash', HEX('transaction_hash')],
        transaction_index: ['transaction_index', TEXT('transaction_index')],
        log_index: ['log_index', TEXT('log_index')],
        address: ['address', HEX('address')],
        topics: [
          'topics',
          `coalesce((select string_agg(t, ' ' order by n) from jsonb_array_elements_text(topics) with ordinality x(t, n)), '')`,
        ],
        data: ['data', HEX('data')],
      },
    ],
    [
      'transactions',
      298,
      {
        timestamp: ['block_timestamp', 'extract(epoch from "timestamp")::bigint::text'],
        block_num: ['block_number', TEXT('block_num')],
        hash: ['hash', HEX('hash')],
        nonce: ['nonce', TEXT('nonce')],
        transaction_index: ['transaction_index', TEXT('transaction_index')],
        from_address: ['from_address', HEX('from_address')],
        to_address: ['to_address', HEX('to_address')],
        value: ['value', TEXT('value')],
        gas: ['gas', TEXT('gas')],
        gas_price: ['gas_price', TEXT('gas_price')],
        input: ['input', HEX('input')],
        max_fee_per_gas: ['max_fee_per_gas', TEXT('max_fee_per_gas')],
        max_priority_fee_per_gas: ['max_priority_fee_per_gas', TEXT('max_priority_fee_per_gas')],
        transaction_type: ['transaction_type', TEXT('transaction_type')],
        receipt_cumulative_gas_used: ['receipt_cumulative_gas_used', TEXT('receipt_cumulative_gas_used')],
        receipt_gas_used: ['receipt_gas_used', TEXT('receipt_gas_used')],
        receipt_contract_address: ['receipt_contract_address', HEX('receipt_contract_address')],
        receipt_status: ['receipt_status', TEXT('receipt_status')],
        receipt_effective_gas_price: ['receipt_effective_gas_price', TEXT('receipt_effective_gas_price')],
      },
    ],
  ] as const)('%s go into a table as they are: %i rows, every value equal', async (name, count, columns) => {
    const table = `mainnet_${name}`;
    const settings = {
      load: 'rows',
      query: `SELECT _block_num, ${Object.keys(columns).join(', ')} FROM ${name}`,
      table,
    };
    const result = await load({ pool: database.pool, url: devnet.url, stream: table, settings });
    expect(result).toMatchObject({ end: 'complete', rows: count });
    const cells = Object.values(columns);
    const { rows } = await database.pool.query<{ cells: readonly unknown[] }>(
      `select jsonb_build_array(_block_num::text, ${cells.map(([, sql]) => sql).join(', ')}) as cells from public.${table}`,
    );
    const recorded = recordOf(name);
    expect(recorded).toHaveLength(count);
    const expected = recorded.map((row) =>
      JSON.stringify([shown(row['block_number']), ...cells.map(([key]) => shown(row[key]))]),
    );
    expectSame(rows.map((row) => JSON.stringify(row.cells)).toSorted(), expected.toSorted());
    await expectLedger(database.pool, table, devnet.chain, {
      from: FIRST_BLOCK,
      to: FIRST_BLOCK + 1,
      rows: count,
    });
  });
});
