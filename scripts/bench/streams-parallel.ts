/**
 * Parallel catch-up: two workers against one where server, client and PostgreSQL share the cores; eight against one where the
 * server is 50 ms away; and the memory of eight. Server and client each in a process of their own.
 */
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import type { ChainOptions } from '../../src/devnet/chain.ts';
import { spawnDevnet } from '../../src/devnet/child.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { runClient } from './ingest.ts';
import type { ClientReport } from './ingest-client.ts';
import { LOADS } from './ingest-loads.ts';
import { median, result, type BenchResult } from './result.ts';

const QUERY = 'SELECT _block_num, timestamp, log_index, token, "from", "to", value FROM transfers';

/** A comparison of two numbers of workers. */
interface ParallelCase {
  readonly name: string;
  readonly chain: ChainOptions;
  readonly latency_ms: number;
  readonly workers: number;
  readonly parallel: Readonly<Record<string, number>>;
}

const CASES: readonly ParallelCase[] = [
  {
    name: '2 workers',
    chain: { seed: 7, blocks: 4000, transfersPerBlock: 200, accounts: 250_000, tokens: 50 },
    latency_ms: 0,
    workers: 2,
    parallel: { target_rows: 100_000 },
  },
  {
    // Partitions small enough that the wait for the server is what a load of them takes.
    name: '8 workers at 50 ms',
    chain: { seed: 7, blocks: 8000, transfersPerBlock: 5, accounts: 10_000, tokens: 10 },
    latency_ms: 50,
    workers: 8,
    parallel: { partition_blocks: 40 },
  },
  {
    name: 'dense, 8 workers',
    chain: { seed: 7, blocks: 4000, transfersPerBlock: 200, accounts: 250_000, tokens: 50 },
    latency_ms: 0,
    workers: 8,
    parallel: { target_rows: 100_000 },
  },
];

const policy = (url: string, settings: string): string => `
servers: { bench: { url: "${url}" } }
streams:
  transfers: { server: bench, load: transfers, query: '${QUERY}', ordinal: log_index, rules: ["to:+value", "from:-value"], fold: deferred${settings} }`;

/** Yields each case's rate beside that of one worker, and the peak memory of its client. */
export async function* parallelBench({ only, runs, say }: BenchOptions): AsyncGenerator<BenchResult> {
  for (const item of CASES.filter(({ name }) => name.includes(only))) {
    const results: BenchResult[] = [];
    await withScratchServer(async (database) => {
      await migrate({ connectionString: database });
      const pool = createPool(database, { synchronousCommit: 'off' });
      const devnet = await spawnDevnet({
        chain: item.chain,
        preload: [{ sql: QUERY }],
        rowsPerMessage: 8192,
        latency_ms: item.latency_ms,
      });
      try {
        results.push(...(await compare(item, pool, database, devnet.url, runs, say)));
      } finally {
        await devnet.stop();
        await pool.end();
      }
    });
    yield* results;
  }
}

const compare = async (
  { name, workers, parallel }: ParallelCase,
  pool: Pool,
  database: string,
  url: string,
  runs: number,
  say: BenchOptions['say'],
): Promise<BenchResult[]> => {
  const load = LOADS.find((candidate) => candidate.name === 'transfers')!;
  const once = async (settings: object | null): Promise<ClientReport> => {
    await load.reset(pool);
    const given = settings === null ? '' : `, parallel: ${JSON.stringify(settings)}`;
    return runClient({ database, stream: 'transfers', policy: policy(url, given) });
  };
  const rates: Record<'many' | 'one' | 'serial', number[]> = { many: [], one: [], serial: [] };
  let peak = 0;
  for (let run = 1; run <= runs; run++) {
    for (const [which, settings] of [
      ['one', { ...parallel, workers: 1 }],
      ['many', { ...parallel, workers }],
      ['serial', null],
    ] as const) {
      const report = await once(settings);
      rates[which].push(report.rows / report.seconds);
      if (which === 'many') peak = Math.max(peak, report.peak_rss_mb);
      say(
        `${name} run ${run}, ${which}: ${Math.round(report.rows / report.seconds)} rows/s, client CPU ${report.cpu_s.toFixed(1)} of ${report.seconds.toFixed(1)} s, peak RSS ${Math.round(report.peak_rss_mb)} MB`,
      );
    }
  }
  const one = median(rates.one);
  return [
    result('streams', name, median(rates.many), 'rows/s', one),
    result('streams', `${name} beside a stream`, median(rates.serial), 'rows/s', one),
    result('streams', `${name} peak RSS`, peak, 'MB', null),
  ];
};
