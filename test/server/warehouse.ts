/** A small warehouse behind a page: four weeks of a simulated chain, loaded as `pgstrata ingest` would. */
import type { Pool } from '../../src/db/query.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { startPageServer, type PageOptions, type PageServer } from '../../src/server/http.ts';
import { load, TRANSFERS } from '../jobs/loading.ts';

/** Loads it: a block every six hours for four weeks. */
export const loadWarehouse = async (pool: Pool): Promise<void> => {
  const devnet = await startDevnet({
    chain: createChain({ blocks: 112, blockSeconds: 21_600, transfersPerBlock: 40, accounts: 60, tokens: 3 }),
  });
  try {
    await load({ pool, url: devnet.url, stream: 'transfers', settings: TRANSFERS });
    await pool.query('analyze strata.balance_changes');
  } finally {
    await devnet.stop();
  }
};

/** A page on any free port of this machine. */
export const servePage = (pool: Pool, options: Partial<PageOptions> = {}): Promise<PageServer> =>
  startPageServer({
    pool,
    host: '127.0.0.1',
    port: 0,
    token: null,
    names: [],
    version: 'test',
    refresh_ms: 50,
    ...options,
  });
