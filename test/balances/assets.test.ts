/** Writing assets: many loaders meet the same new ones at the same moment. */
import { describe, expect, it } from 'vitest';
import { withClient } from '../../src/db/pool.ts';
import { assetId, assetIdText, writeAssets, type NewAsset } from '../../src/warehouse/assets.ts';
import { useDatabase } from '../database.ts';
import { until } from '../db/until.ts';

const database = useDatabase();

const traits = { grain: 'hour', observed: false } as const;

const asset = (assetKey: string, zeroSum = true): NewAsset => {
  const key = { network: 'devnet', standard: 'erc20', assetKey, tokenId: null };
  return { ...key, id: assetId(key), zeroSum };
};

const stored = async (prefix: string): Promise<{ asset_key: string; zero_sum: boolean }[]> =>
  (
    await database.pool.query(
      'select asset_key, zero_sum from strata.assets where asset_key like $1 order by asset_key',
      [`${prefix}%`],
    )
  ).rows;

/**
 * Makes every insert wait behind the look at the unique indexes and before its own entries in them, while lock 77 is held:
 * the moment in which two loaders do not see each other. PostgreSQL fills indexes in the order they were made.
 */
const pauseBeforeIndexes = async (): Promise<void> => {
  await database.pool.query(`
    create function public.pause(id bigint) returns bigint language plpgsql immutable as $$
    begin perform pg_advisory_lock_shared(77); perform pg_advisory_unlock_shared(77); return id; end $$;
    create index pausing on strata.assets (public.pause(asset_id));
    alter table strata.assets drop constraint assets_pkey cascade, add primary key (asset_id);
    do $$ declare key name; begin
      select conname into key from pg_constraint where conrelid = 'strata.assets'::regclass and contype = 'u';
      execute format('alter table strata.assets drop constraint %I', key);
      execute format('alter table strata.assets add constraint %I unique nulls not distinct (network, standard, asset_key, token_id)', key);
    end $$`);
};

const waiting = async (): Promise<number> =>
  (
    await database.pool.query<{ waiting: number }>(
      `select count(*)::int as waiting from pg_locks
        where locktype = 'advisory' and objid = 77 and not granted and database = (select oid from pg_database where datname = current_database())`,
    )
  ).rows[0]!.waiting;

describe('assets', () => {
  it('that two loaders find missing at the same moment are there once, and no loader fails', async () => {
    await pauseBeforeIndexes();
    const gate = await database.pool.connect();
    await gate.query('select pg_advisory_lock(77)');
    const assets = ['a', 'b'].map((name) => asset(`race_${name}`));
    const loaders = Promise.all(
      [1, 2].map(() => withClient(database.pool, (client) => writeAssets(client, assets, traits))),
    );
    loaders.catch(() => undefined); // told below
    try {
      await until('both loaders to wait', async () => (await waiting()) === 2);
    } finally {
      await gate.query('select pg_advisory_unlock(77)');
      gate.release();
    }
    await loaders;
    expect(await stored('race_')).toHaveLength(2);
  });

  it('that one loader knows as one-sided are so for all', async () => {
    await withClient(database.pool, async (client) => {
      await writeAssets(client, [asset('sided_a'), asset('sided_b')], traits);
      await writeAssets(client, [asset('sided_a', false), asset('sided_c', false)], traits);
      await writeAssets(client, [asset('sided_a'), asset('sided_c')], traits);
    });
    expect(await stored('sided_')).toEqual([
      { asset_key: 'sided_a', zero_sum: false },
      { asset_key: 'sided_b', zero_sum: true },
      { asset_key: 'sided_c', zero_sum: false },
    ]);
  });

  it('whose id another asset has are refused, with the row that has it', async () => {
    const wanted = asset('wanted');
    await database.pool.query(
      `insert into strata.assets (asset_id, network, standard, asset_key) values ($1, 'devnet', 'erc20', 'squatter')`,
      [assetIdText(wanted.id)],
    );
    await expect(
      withClient(database.pool, (client) => writeAssets(client, [wanted], traits)),
    ).rejects.toMatchObject({
      kind: 'internal',
      detail: { value: assetIdText(wanted.id), remedy: expect.stringContaining('squatter') },
    });
  });
});
