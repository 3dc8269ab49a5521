/**
 * Bulk backfill: 4 M changes of eight weeks, from Flight to attached weeks with keys, changes and balances; against COPY of the same
 * rows, encoded beforehand, into live-indexed weeks (without balances), and against live batches of 10,000 with their fold.
 */
import { copyIn } from '../../src/db/copy-in.ts';
import { createPool, withClient } from '../../src/db/pool.ts';
import type { ChainOptions } from '../../src/devnet/chain.ts';
import { spawnDevnet } from '../../src/devnet/child.ts';
import { verifyBalances } from '../../src/warehouse/verify.ts';
import { serverCpu } from '../server-cpu.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { runClient } from './ingest.ts';
import { LOADS, type Preencoded } from './ingest-loads.ts';
import { median, result, type BenchResult } from './result.ts';
import { freshDatabase, policyOf, QUERY } from './scale-load.ts';

/** 2 M transfers in eight weeks. */
const CHAIN: ChainOptions = {
  seed: 7,
  blocks: 10_000,
  blockSeconds: 483,
  transfersPerBlock: 200,
  accounts: 250_000,
  tokens: 50,
};
/** Blocks of the live batches: an eighth of the rows says what they cost. */
const LIVE_BLOCKS = 1_250;

const BULK = ', parallel: { workers: 2, reorg_buffer: 20 }';
const LIVE = ', commit_rows: 10000';

/** Yields the rates, and the client's memory. */
export async function* backfillBench({ only, runs, say }: BenchOptions): AsyncGenerator<BenchResult> {
  if (!'backfill'.includes(only.split(' ')[0] ?? '')) return;
  const rates: Record<'bulk' | 'raw' | 'live', number[]> = { bulk: [], raw: [], live: [] };
  let peak = 0;
  await withScratchServer(async (server) => {
    say('backfill: making the chain');
    const devnet = await spawnDevnet({
      chain: CHAIN,
      preload: [{ sql: QUERY }],
      rowsPerMessage: 8192,
      microbatchBlocks: 25,
    });
    try {
      const frames = await LOADS[0]!.preencode(devnet.url);
      for (let run = 1; run <= runs; run++) {
        const bulk = await bulkLoad(server, devnet.url, '', BULK, say);
        if (bulk.rows !== frames.rows) throw new Error(`loaded ${bulk.rows} rows, not ${frames.rows}`);
        rates.bulk.push(bulk.rate);
        peak = Math.max(peak, bulk.peak_rss_mb);
        rates.raw.push(await rawCopy(server, frames, say));
        rates.live.push((await bulkLoad(server, devnet.url, 'live', LIVE, say, LIVE_BLOCKS)).rate);
        say(
          `backfill run ${run}: bulk ${Math.round(bulk.rate)} rows/s, raw ${Math.round(rates.raw.at(-1)!)}, live ${Math.round(rates.live.at(-1)!)}, peak RSS ${Math.round(bulk.peak_rss_mb)} MB`,
        );
      }
    } finally {
      await devnet.stop();
    }
  });
  yield result('scale', 'backfill', median(rates.bulk), 'rows/s', median(rates.raw));
  yield result('scale', 'backfill against live batches', median(rates.bulk), 'rows/s', median(rates.live));
  yield result('scale', 'backfill peak RSS', peak, 'MB', null);
}

/** One run of the client into a fresh database; says whose CPU it took. */
const bulkLoad = async (
  server: string,
  url: string,
  name: string,
  settings: string,
  say: (text: string) => void,
  to?: number,
): Promise<{ rows: number; rate: number; peak_rss_mb: number }> => {
  const database = await freshDatabase(server);
  const pool = createPool(database);
  try {
    await pool.query('checkpoint');
    const cpu = await serverCpu(pool);
    const before = cpu();
    const report = await runClient({
      database,
      stream: 'transfers',
      policy: policyOf(url, settings),
      ...(to === undefined ? {} : { to }),
    });
    say(
      `${name === '' ? 'bulk' : name}: ${report.seconds.toFixed(1)} s; CPU: client ${report.cpu_s.toFixed(1)} s, PostgreSQL ${(cpu() - before).toFixed(1)} s`,
    );
    if (name === '') {
      const { differences } = await verifyBalances(pool, { oneIn: 64 });
      if (differences !== 0) throw new Error(`${differences} differences`);
    }
    return { rows: report.rows, rate: report.rows / report.seconds, peak_rss_mb: report.peak_rss_mb };
  } finally {
    await pool.end();
  }
};

/** COPY of all frames by one connection into weeks with their keys. */
const rawCopy = async (server: string, frames: Preencoded, say: (text: string) => void): Promise<number> => {
  const pool = createPool(await freshDatabase(server), { synchronousCommit: 'off' });
  try {
    await pool.query(`select strata.ensure_weeks('balance_changes', '2026-01-04', '2026-02-28')`);
    await pool.query('checkpoint');
    const cpu = await serverCpu(pool);
    const before = cpu();
    const started = performance.now();
    const rows = await withClient(pool, (client) => copyIn(client, LOADS[0]!.copy, frames.list));
    const seconds = (performance.now() - started) / 1000;
    say(`raw: ${seconds.toFixed(1)} s; CPU: PostgreSQL ${(cpu() - before).toFixed(1)} s`);
    return rows / seconds;
  } finally {
    await pool.end();
  }
};
