/** How soon a run asks its server for more when its ledger is long. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { createChain } from '../../src/devnet/chain.ts';
import { startDevnet } from '../../src/devnet/server.ts';
import { connectFlight } from '../../src/flight/client.ts';
import { ingest } from '../../src/jobs/ingest.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { median, result, type BenchResult } from './result.ts';

/** Ledger rows of the stream that is resumed, a block each. */
const LEDGER_ROWS = 1_000_000;

const STREAM = 'resumed';

const policyOf = (url: string): string =>
  JSON.stringify({
    servers: { s: { url } },
    streams: {
      [STREAM]: {
        server: 's',
        load: 'rows',
        table: 'resumed',
        query: 'SELECT _block_num, number FROM blocks',
      },
    },
  });

/** A stream that has loaded as many blocks, each a range of its own. */
const fillLedger = async (pool: Pool, network: string): Promise<void> => {
  await pool.query(
    `insert into strata.streams (stream, load, target, grain, definition, epoch) values ($1, 'rows', 'public.resumed', 'hour', '{}', 1)`,
    [STREAM],
  );
  await pool.query('insert into strata.sources (stream, network) values ($1, $2)', [STREAM, network]);
  await pool.query(
    `insert into strata.stream_batches (source_id, start_block, end_block, hash, prev_hash, batch_id, row_count)
     select s.source_id, g, g, '0x' || repeat(md5(g::text), 2), '0x' || repeat(md5((g - 1)::text), 2), g, 1
       from strata.sources s, generate_series(0, $1::int - 1) g`,
    [LEDGER_ROWS],
  );
  await pool.query('vacuum analyze strata.stream_batches');
};

/** Milliseconds from the start of a followed run until its stream query has reached the server. */
const resumeOnce = async (pool: Pool): Promise<number> => {
  const devnet = await startDevnet({ chain: createChain({ blocks: 1 }) });
  const client = connectFlight({ url: devnet.url });
  const stop = new AbortController();
  const started = performance.now();
  const run = ingest({
    pool,
    client,
    stream: STREAM,
    config: parseConfig(policyOf(devnet.url), {}).streams[STREAM]!,
    serverKind: 'amp',
    window: { from: null, to: null },
    follow: true,
    signal: stop.signal,
    now: new Date(),
    onEvent: () => undefined,
  });
  const failed = run.then(() => null);
  while (devnet.activeStreams() === 0) await Promise.race([nextTurn(), failed]);
  const milliseconds = performance.now() - started;
  stop.abort();
  await failed;
  client.close();
  await devnet.stop();
  return milliseconds;
};

/** The case `resume`: milliseconds to the first request of a stream with a million ledger rows. */
export async function* resumeBench({ only, runs, say }: BenchOptions): AsyncGenerator<BenchResult> {
  if (!'resume'.includes(only)) return;
  const times: number[] = [];
  await withScratchServer(async (database) => {
    await migrate({ connectionString: database });
    const pool = createPool(database);
    await fillLedger(pool, 'devnet');
    for (let run = 1; run <= runs; run++) {
      times.push(await resumeOnce(pool));
      say(`resume run ${run}: ${times.at(-1)!.toFixed(0)} ms`);
    }
    await pool.end();
  });
  yield result(
    'streams',
    `resume, ${LEDGER_ROWS.toLocaleString('en')} ledger rows`,
    median(times),
    'ms',
    null,
  );
}
