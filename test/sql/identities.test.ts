/** Accounts and assets: SQL and TypeScript must name them alike, and lose nothing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accountBytes, accountText, accountTextOfHex } from '../../src/warehouse/account.ts';
import { assetId, assetIdText } from '../../src/warehouse/assets.ts';
import { useDatabase } from '../database.ts';
import { propertyOptions, randomRuns } from '../seed.ts';

const database = useDatabase();

const account = fc.oneof(
  fc.uint8Array({ minLength: 20, maxLength: 20 }),
  fc.uint8Array({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 24 }).map((text) => Buffer.from(text, 'utf8')),
  fc
    .string({ unit: fc.constantFrom('0', '1', '9', 'a', 'f', 'F'), maxLength: 10 })
    .map((hex) => Buffer.from(`0x${hex}`)),
);

describe('accounts', () => {
  it('read back to the same bytes, alike in SQL and TypeScript', async () => {
    const [accounts = []] = fc.sample(
      fc.array(account, { minLength: randomRuns(2000), maxLength: randomRuns(2000) }),
      {
        ...propertyOptions(1),
        numRuns: 1,
      },
    );
    const { rows } = await database.pool.query<{ text: string; back: Buffer }>(
      `select strata.account_text(a) as text, strata.account(strata.account_text(a)) as back
         from unnest($1::bytea[]) with ordinality as given (a, n) order by n`,
      [accounts.map((bytes) => Buffer.from(bytes))],
    );
    expect(rows.map((row) => row.text)).toEqual(accounts.map(accountText));
    expect(rows.map((row) => row.back.toString('hex'))).toEqual(
      accounts.map((bytes) => Buffer.from(bytes).toString('hex')),
    );
    expect(accounts.map((bytes) => accountTextOfHex(Buffer.from(bytes).toString('hex')))).toEqual(
      accounts.map(accountText),
    );
    expect(accounts.map((bytes) => accountBytes(accountText(bytes)).toString('hex'))).toEqual(
      accounts.map((bytes) => Buffer.from(bytes).toString('hex')),
    );
  });

  it('given as a literal prune hash partitions', async () => {
    await database.pool.query(`select strata.ensure_weeks('balance_changes', '2026-01-05', '2026-01-05')`);
    const { rows } = await database.pool.query<{ 'QUERY PLAN': string }>(
      `explain select * from strata.balance_changes where account_address = strata.account('0x00ff')`,
    );
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
    expect(plan.match(/_hash_\d/g)?.length).toBeGreaterThan(0);
    expect(new Set(plan.match(/on balance_changes_2026_01_04_hash_\d/g)).size).toBe(1);
  });
});

describe('assets', () => {
  it('have the same computed id in SQL and TypeScript', async () => {
    const key = fc.record({
      network: fc.constantFrom('mainnet', 'base'),
      standard: fc.constantFrom('erc20', 'erc721', 'activity'),
      assetKey: fc.string({ unit: 'grapheme', maxLength: 20 }).filter((text) => !text.includes('\0')),
      tokenId: fc.option(fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }).map(String)),
    });
    await fc.assert(
      fc.asyncProperty(key, async (asset) => {
        const { rows } = await database.pool.query<{ id: string }>(
          'select strata.asset_id($1, $2, $3, $4)::text as id',
          [asset.network, asset.standard, asset.assetKey, asset.tokenId],
        );
        expect(rows[0]?.id).toBe(assetIdText(assetId(asset)));
      }),
      propertyOptions(100),
    );
  });
});
