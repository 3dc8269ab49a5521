/** A Citus cluster against one PostgreSQL of the same version on the same machine: COPY, loading with the live fold, bytes between nodes. */
import { readFileSync } from 'node:fs';
import { recreateDatabase } from '../../src/db/administer.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { Pool } from '../../src/db/query.ts';
import { spawnDevnet } from '../../src/devnet/child.ts';
import type { BenchOptions } from '../bench.ts';
import { rawCopy, runClient } from './ingest.ts';
import { LOADS, type Preencoded } from './ingest-loads.ts';
import { median, result, type BenchResult } from './result.ts';

/** Transfers of a batch; each makes two changes. */
const BATCH = 10_000;
const TRANSFERS_PER_BLOCK = 200;
const BLOCKS = 3001;
const LOAD = LOADS.find(({ name }) => name === 'transfers')!;

/** Two to each of two workers, which share two cores. */
const SHARDS = 4;

const CASES = ['citus copy', 'citus fold', 'citus bytes'];

/** One side of the comparison. */
interface Side {
  readonly url: string;
  readonly pool: Pool;
  /** Rows a second, and bytes on the loopback a row, of each run. */
  readonly copies: number[];
  readonly folds: number[];
  readonly bytes: number[];
}

/**
 * The cases `citus copy`, `citus fold` and `citus bytes`; left out, loudly, without `CITUS_URL`.
 *
 * `CITUS_URL` names a database of a coordinator on this machine whose nodes have the extension and know each other; it is filled and
 * emptied. The reference is a database without the extension on the coordinator's own server: the same version, settings and cores.
 */
export async function* citusBench(options: BenchOptions): AsyncGenerator<BenchResult> {
  if (!CASES.some((name) => name.includes(options.only))) return;
  const url = process.env['CITUS_URL'] || null;
  if (url === null)
    return options.say('citus: LEFT OUT, for there is no CITUS_URL (a coordinator of Citus on this machine)');
  const sides = {
    citus: await openSide(url),
    single: await openSide(await recreateDatabase(url, 'bench_single')),
  };
  const devnet = await spawnDevnet({
    chain: { ...LOAD.chain, blocks: BLOCKS, transfersPerBlock: TRANSFERS_PER_BLOCK },
    preload: [{ sql: LOAD.query }],
    microbatchBlocks: BATCH / TRANSFERS_PER_BLOCK,
  });
  try {
    const frames = await LOAD.preencode(devnet.url);
    for (let run = 1; run <= options.runs; run++)
      for (const [name, side] of Object.entries(sides)) {
        await measure(side, devnet.url, frames);
        options.say(
          `citus run ${run}, ${name}: COPY ${Math.round(side.copies.at(-1)!)} rows/s, with the fold ${Math.round(side.folds.at(-1)!)} rows/s`,
        );
      }
  } finally {
    await devnet.stop();
    for (const { pool } of Object.values(sides)) await pool.end();
  }
  const { citus, single } = sides;
  yield result('scale', 'citus copy', median(citus.copies), 'rows/s', median(single.copies));
  yield result('scale', 'citus fold', median(citus.folds), 'rows/s', median(single.folds));
  // What the client, the devnet and the first node exchange is the same on both sides; nothing else may use the loopback meanwhile.
  yield result(
    'scale',
    'citus bytes between nodes per folded change',
    median(citus.bytes) - median(single.bytes),
    'B',
    null,
  );
}

const openSide = async (url: string): Promise<Side> => {
  await migrate({ connectionString: url, shards: SHARDS });
  return { url, pool: createPool(url, { synchronousCommit: 'off' }), copies: [], folds: [], bytes: [] };
};

const measure = async (
  { url, pool, copies, folds, bytes }: Side,
  devnet: string,
  frames: Preencoded,
): Promise<void> => {
  await empty(pool);
  copies.push(await rawCopy(LOAD, pool, frames));
  await empty(pool);
  const policy = LOAD.policy(devnet).replace('fold: deferred', `commit_rows: ${2 * BATCH}, fold: live`);
  const before = loopbackBytes();
  const report = await runClient({ database: url, stream: LOAD.name, policy });
  bytes.push((loopbackBytes() - before) / report.rows);
  folds.push(report.rows / report.seconds);
};

/** One by one, for a cluster does not empty its own and distributed tables in one statement. */
const empty = async (pool: Pool): Promise<void> => {
  await LOAD.reset(pool);
  await pool.query('truncate strata.account_balances');
  await pool.query('truncate strata.account_balances_current');
  await pool.query('update strata.balance_status set stale = false');
  await pool.query('checkpoint');
};

/** Bytes that were sent on this machine's loopback so far. */
const loopbackBytes = (): number => {
  const line = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find((text) => text.trim().startsWith('lo:'));
  return Number(line?.trim().split(/\s+/)[9] ?? Number.NaN);
};
