/** Live end to end, Flight → changes + balances + state + ledger in batches of 10,000 transfers, against the same without the fold. */
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import { spawnDevnet } from '../../src/devnet/child.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { runClient } from './ingest.ts';
import { LOADS } from './ingest-loads.ts';
import { median, result, type BenchResult } from './result.ts';

/** Transfers of a batch; each makes two changes. */
const BATCH = 10_000;
const TRANSFERS_PER_BLOCK = 200;
const BLOCKS = 3001;

/** The case `live`: rows/s with the fold, and the ratio to loading alone. */
export const liveCase = async ({ runs, say }: BenchOptions): Promise<BenchResult[]> => {
  const load = LOADS.find(({ name }) => name === 'transfers')!;
  const rates = { live: [] as number[], deferred: [] as number[] };
  await withScratchServer(async (database) => {
    await migrate({ connectionString: database });
    const pool = createPool(database, { synchronousCommit: 'off' });
    const devnet = await spawnDevnet({
      chain: { ...load.chain, blocks: BLOCKS, transfersPerBlock: TRANSFERS_PER_BLOCK },
      preload: [{ sql: load.query }],
      microbatchBlocks: BATCH / TRANSFERS_PER_BLOCK,
    });
    for (let run = 1; run <= runs; run++) {
      for (const fold of ['live', 'deferred'] as const) {
        await load.reset(pool);
        await pool.query('truncate strata.account_balances, strata.account_balances_current');
        await pool.query('update strata.balance_status set stale = false');
        await pool.query('checkpoint');
        const policy = load
          .policy(devnet.url)
          .replace('fold: deferred', `commit_rows: ${2 * BATCH}, fold: ${fold}`);
        const report = await runClient({ database, stream: load.name, policy });
        rates[fold].push(report.rows / report.seconds);
      }
      say(
        `live run ${run}: ${Math.round(rates.live.at(-1)!)} rows/s with the fold, ${Math.round(rates.deferred.at(-1)!)} without`,
      );
    }
    await devnet.stop();
    await pool.end();
  });
  return [
    result(
      'balances',
      'live, batches of 10,000 transfers',
      median(rates.live),
      'rows/s',
      median(rates.deferred),
    ),
  ];
};
