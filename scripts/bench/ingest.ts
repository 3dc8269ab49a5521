/**
 * Flight server (own process) → client (own process) → PostgreSQL over one connection, against COPY of the same rows
 * pre-encoded in memory, in arrival order, into an identical table; and against what a user would write first.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { copyIn } from '../../src/db/copy-in.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool, withClient } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { spawnDevnet } from '../../src/devnet/child.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import type { ClientReport, ClientTask } from './ingest-client.ts';
import { LOADS, type BenchLoad } from './ingest-loads.ts';
import { naiveRates } from './ingest-naive.ts';
import { median, result, type BenchResult } from './result.ts';

const CLIENT = fileURLToPath(new URL('./ingest-client.ts', import.meta.url));

/** Yields the cases `transfers` and `rows`, with the naive ways and the client's memory beside them. */
export async function* ingestBench({ only, runs, say }: BenchOptions): AsyncGenerator<BenchResult> {
  for (const load of LOADS.filter(({ name }) => name.includes(only.split(' ')[0] ?? ''))) {
    const results: BenchResult[] = [];
    await withScratchServer(async (database) => {
      await migrate({ connectionString: database });
      const pool = createPool(database, { synchronousCommit: 'off' });
      say(`${load.name}: making the chain`);
      const devnet = await spawnDevnet({
        chain: load.chain,
        preload: [{ sql: load.query }],
        rowsPerMessage: 8192,
      });
      try {
        results.push(
          ...(await measure(
            load,
            pool,
            { database, stream: load.name, policy: load.policy(devnet.url) },
            devnet.url,
            runs,
            say,
          )),
        );
      } finally {
        await devnet.stop();
        await pool.end();
      }
    });
    yield* results;
  }
}

const measure = async (
  load: BenchLoad,
  pool: Pool,
  task: ClientTask,
  url: string,
  runs: number,
  say: (text: string) => void,
): Promise<BenchResult[]> => {
  const frames = await load.preencode(url);
  say(
    `${load.name}: ${frames.rows.toLocaleString('en')} rows, ${(frames.bytes / 1e6).toFixed(0)} MB of COPY data`,
  );
  const ours: number[] = [];
  const raw: number[] = [];
  let peak = 0;
  for (let run = 1; run <= runs; run++) {
    await load.reset(pool);
    const report = await runClient(task);
    if (report.rows !== frames.rows) throw new Error(`loaded ${report.rows} rows, not ${frames.rows}`);
    ours.push(report.rows / report.seconds);
    peak = Math.max(peak, report.peak_rss_mb);
    await load.reset(pool);
    raw.push(await rawCopy(load, pool, frames));
    say(
      `${load.name} run ${run}: ${Math.round(ours.at(-1)!)} rows/s (client CPU ${report.cpu_s.toFixed(1)} s, peak RSS ${Math.round(report.peak_rss_mb)} MB), raw ${Math.round(raw.at(-1)!)}`,
    );
  }
  await load.reset(pool);
  const reference = median(raw);
  const results = [
    result('ingest', load.name, median(ours), 'rows/s', reference),
    result('ingest', `${load.name} peak RSS`, peak, 'MB', null),
  ];
  for (const [name, rate] of await naiveRates(load, pool, url))
    results.push(result('ingest', `${load.name} ${name}`, rate, 'rows/s', reference));
  return results;
};

/** Runs the client in its own process. */
export const runClient = async (task: ClientTask): Promise<ClientReport> => {
  const { stdout } = await promisify(execFile)(process.execPath, [CLIENT, JSON.stringify(task)]);
  return JSON.parse(stdout) as ClientReport;
};

/** Rows a second of one COPY of frames in memory. */
export const rawCopy = (
  load: BenchLoad,
  pool: Pool,
  frames: { readonly list: readonly Buffer[]; readonly rows: number },
): Promise<number> =>
  withClient(pool, async (client) => {
    const started = performance.now();
    const rows = await copyIn(client, load.copy, frames.list);
    return rows / ((performance.now() - started) / 1000);
  });
