/** Bulk backfill of two years: what a week costs must not depend on how many there are already. */
import { createPool } from '../../src/db/pool.ts';
import type { ChainOptions } from '../../src/devnet/chain.ts';
import { spawnDevnet } from '../../src/devnet/child.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { runClient } from './ingest.ts';
import { median, result, type BenchResult } from './result.ts';
import { freshDatabase, policyOf, QUERY } from './scale-load.ts';

/** A block an hour for 104 weeks; each week has 33,600 changes of 5,000 accounts, who all have their balances after the first weeks. */
const CHAIN: ChainOptions = {
  seed: 7,
  blocks: 104 * 168,
  blockSeconds: 3_600,
  transfersPerBlock: 100,
  accounts: 5_000,
  tokens: 4,
  genesisTime: Date.UTC(2024, 0, 7) / 1000,
};

/** Weeks at the beginning and at the end that are compared; the first ones still make most of the accounts. */
const SAMPLE = 13;
const WARM_UP = 4;

/** Yields the milliseconds of a week at the end beside those of one at the beginning. */
export async function* historyBench({ only, runs, say }: BenchOptions): AsyncGenerator<BenchResult> {
  if (!'history'.includes(only.split(' ')[0] ?? '')) return;
  const early: number[] = [];
  const late: number[] = [];
  await withScratchServer(async (server) => {
    say('history: making the chain');
    const devnet = await spawnDevnet({ chain: CHAIN, preload: [{ sql: QUERY }], rowsPerMessage: 8192 });
    try {
      for (let run = 1; run <= runs; run++) {
        const times = await attachTimes(server, devnet.url);
        const cost = (from: number, to: number): number => (times[to]! - times[from]!) / (to - from);
        early.push(cost(WARM_UP, WARM_UP + SAMPLE));
        late.push(cost(times.length - 2 - SAMPLE, times.length - 2));
        say(
          `history run ${run}: ${times.length} weeks, ms per week: first ${early.at(-1)!.toFixed(0)}, last ${late.at(-1)!.toFixed(0)}, all ${cost(0, times.length - 1).toFixed(0)}`,
        );
      }
    } finally {
      await devnet.stop();
    }
  });
  yield result('scale', 'history', median(late), 'ms/week', median(early));
}

/** When each week was attached, in milliseconds. */
const attachTimes = async (server: string, url: string): Promise<number[]> => {
  const database = await freshDatabase(server);
  await runClient({
    database,
    stream: 'transfers',
    policy: policyOf(url, ', parallel: { workers: 2, partition_blocks: 336, reorg_buffer: 20 }'),
  });
  const pool = createPool(database);
  try {
    const { rows } = await pool.query<{ at: number }>(
      `select (extract(epoch from attached_at) * 1000)::float8 as at from strata.backfill_weeks where folded = 'whole' order by week_start`,
    );
    return rows.map(({ at }) => at);
  } finally {
    await pool.end();
  }
};
