/** What labels cost on load: 1 M rows joined with 100,000 labels, against the same rows loaded without. */
import { addLabels } from '../../src/warehouse/labels/add.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { spawnDevnet } from '../../src/devnet/child.ts';
import type { ChainOptions } from '../../src/devnet/chain.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { runClient } from './ingest.ts';
import { median, result, type BenchResult } from './result.ts';

const ROWS = 1_000_000;
const LABELS = 100_000;
const CHAIN: ChainOptions = {
  seed: 11,
  blocks: 5_001,
  transfersPerBlock: 200,
  accounts: 250_000,
  tokens: 50,
};
const QUERY = 'SELECT _block_num, timestamp, log_index, tx_hash, token, "from", "to", value FROM transfers';

const policy = (url: string): string => `
servers: { bench: { url: "${url}" } }
streams:
  plain: { server: bench, load: rows, query: '${QUERY}', table: plain_rows }
  labelled: { server: bench, load: rows, query: '${QUERY}', table: labelled_rows, labels: [{ name: bench, on: from }] }
  inner: { server: bench, load: rows, query: '${QUERY}', table: inner_rows, labels: [{ name: bench, on: from, join: inner }] }`;

const STREAMS = ['plain', 'labelled', 'inner'] as const;
type Stream = (typeof STREAMS)[number];

/** Yields the milliseconds of a load with labels, by a left and by an inner join; the reference is the load without. */
export async function* labelsBench({ only, runs, say }: BenchOptions): AsyncGenerator<BenchResult> {
  const times: Record<Stream, number[]> = { plain: [], labelled: [], inner: [] };
  const streams = STREAMS.filter((stream) => stream === 'plain' || stream.includes(only));
  await withScratchServer(async (database) => {
    await migrate({ connectionString: database });
    const pool = createPool(database, { synchronousCommit: 'off' });
    const devnet = await spawnDevnet({ chain: CHAIN, preload: [{ sql: QUERY }], rowsPerMessage: 8192 });
    const run = async (stream: Stream): Promise<number> => {
      await reset(pool, stream);
      const report = await runClient({ database, stream, policy: policy(devnet.url) });
      if (stream !== 'inner' && report.rows < ROWS) throw new Error(`${stream} loaded ${report.rows} rows`);
      say(
        `${stream}: ${Math.round(report.seconds * 1000)} ms, client CPU ${report.cpu_s.toFixed(2)} s, peak RSS ${Math.round(report.peak_rss_mb)} MB, ${report.rows} rows`,
      );
      return report.seconds * 1000;
    };
    try {
      await run('plain');
      await loadLabels(pool);
      for (let round = 1; round <= runs; round++) {
        for (const stream of streams) times[stream].push(await run(stream));
      }
    } finally {
      await devnet.stop();
      await pool.end();
    }
  });
  for (const stream of streams.filter((name) => name !== 'plain'))
    yield result('labels', stream, median(times[stream]), 'ms', median(times.plain));
}

/** Labels of senders that are there, filled up with others. */
const loadLabels = async (pool: Pool): Promise<void> => {
  const { rows } = await pool.query<{ account: string }>(
    `select '0x' || encode(account, 'hex') as account
       from (select distinct "from" as account from plain_rows limit $1) senders
      union all select '0x' || encode(sha256(n::text::bytea), 'hex') from generate_series(1, $1) n limit $1`,
    [LABELS],
  );
  const lines = rows.map(({ account }, index) => `${account},label number ${index},category ${index % 40}\n`);
  const source = (async function* file() {
    yield Buffer.from('address,name,category\n');
    yield Buffer.from(lines.join(''));
  })();
  await addLabels(pool, { name: 'bench', source, fileName: 'bench.csv' });
};

const reset = async (pool: Pool, stream: Stream): Promise<void> => {
  await pool.query(`drop table if exists public.${stream}_rows`);
  await pool.query(
    'truncate strata.stream_batches, strata.sources, strata.streams, strata.fold_progress, strata.quarantine restart identity',
  );
  await pool.query('checkpoint');
};
