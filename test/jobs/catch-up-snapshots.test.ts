/** Snapshots loaded in parallel, out of order therefore: the balances are those of one stream in order. */
import { expect, test } from 'vitest';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { useDatabase } from '../database.ts';
import { findings } from '../snapshots/observations.ts';
import { load } from './loading.ts';

const database = useDatabase();

const balancesOf = async (standard: string): Promise<unknown[]> => {
  const { rows } = await database.pool.query(
    `select encode(b.account_address, 'hex') as account, a.asset_key, b."timestamp", b.balance, c.balance as newest
       from strata.account_balances b join strata.assets a using (asset_id)
       join strata.account_balances_current c using (account_address, asset_id)
      where a.standard = $1 order by 1, 2, 3`,
    [standard],
  );
  return rows;
};

test.each([false, true])('only_changes: %s', async (onlyChanges) => {
  const chain = createChain({
    blocks: 120,
    transfersPerBlock: 4,
    accounts: 6,
    tokens: 40,
    blockSeconds: 1200,
  });
  const devnet = await startDevnet({ chain, rowsPerMessage: 20 });
  const settings = {
    load: 'snapshots',
    query:
      'SELECT _block_num, timestamp, "to" AS account, token AS activity, log_index AS balance FROM transfers',
    only_changes: onlyChanges,
    commit_rows: 50,
  };
  try {
    const standards = [`serial ${onlyChanges}`, `parallel ${onlyChanges}`] as const;
    for (const [index, standard] of standards.entries()) {
      const parallel = index === 0 ? {} : { parallel: { workers: 6, partition_blocks: 9, reorg_buffer: 20 } };
      const stream = standard.replace(' ', '_');
      await load({
        pool: database.pool,
        url: devnet.url,
        stream,
        settings: { ...settings, ...parallel, standard },
      });
    }
    const [serial, parallel] = await Promise.all(standards.map(balancesOf));
    expect(serial?.length).toBeGreaterThan(100);
    expect(parallel).toEqual(serial);
    expect(await findings(database.pool)).toEqual([]);
  } finally {
    await devnet.stop();
  }
});
