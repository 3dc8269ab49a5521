/**
 * A followed stream: how soon a new block's rows are visible to SQL, and what a reorg costs beside the load of what it takes back.
 *
 * Time runs from the moment the server, a process of its own, is told of a block until its commit is confirmed: the making of
 * the block, the query of the server and the fold of the balances are all in it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import type { ChainOptions } from '../../src/devnet/chain.ts';
import { spawnDevnet, type DevnetChild } from '../../src/devnet/child.ts';
import { connectFlight } from '../../src/flight/client.ts';
import { ingest } from '../../src/jobs/ingest.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import type { BenchOptions } from '../bench.ts';
import { withScratchServer } from '../scratch.ts';
import { median, result, type BenchResult } from './result.ts';

const policyOf = (url: string): string => `
servers: { bench: { url: "${url}" } }
streams:
  live: { server: bench, load: transfers, ordinal: log_index, rules: ["to:+value", "from:-value"],
          query: 'SELECT _block_num, timestamp, log_index, token, "from", "to", value FROM transfers' }`;

/** A stream that is being followed. */
interface Followed {
  readonly devnet: DevnetChild;
  /** Waits until a block is committed; gives the moment. */
  readonly committed: (block: number) => Promise<number>;
}

/** Runs `work` beside a followed stream of such a chain, which is loaded first. */
const following = async <T>(chain: ChainOptions, work: (stream: Followed) => Promise<T>): Promise<T> => {
  let done: T | null = null;
  await withScratchServer(async (database) => {
    await migrate({ connectionString: database });
    const pool = createPool(database, { synchronousCommit: 'off' });
    const devnet = await spawnDevnet({ chain });
    const client = connectFlight({ url: devnet.url });
    const stopping = new AbortController();
    const waiting = new Map<number, (at: number) => void>();
    const run = ingest({
      pool,
      client,
      stream: 'live',
      config: parseConfig(policyOf(devnet.url), {}).streams['live']!,
      serverKind: 'amp',
      window: { from: null, to: null },
      follow: true,
      signal: stopping.signal,
      now: new Date(),
      onEvent: (event) => {
        if (event.kind !== 'committed') return;
        const at = performance.now();
        for (const { range } of event.result.ranges)
          for (let block = range.start; block <= range.end; block++) waiting.get(block)?.(at);
      },
    });
    const failed = run.then((): never => {
      throw new Error('the stream ended');
    });
    const committed = (block: number): Promise<number> =>
      Promise.race([new Promise<number>((resolve) => waiting.set(block, resolve)), failed]);
    try {
      await committed((chain.blocks ?? 0) - 1);
      done = await work({ devnet, committed });
    } finally {
      stopping.abort(new Error('the benchmark has seen enough'));
      await run;
      client.close();
      await devnet.stop();
      await pool.end();
    }
  });
  return done!;
};

const LIVE: ChainOptions = {
  seed: 5,
  blocks: 200,
  transfersPerBlock: 20,
  accounts: 10_000,
  tokens: 20,
  blockSeconds: 12,
};
const INTERVAL_MS = 20;
/** Blocks that are measured, behind as many as make everything warm. */
const MEASURED = 1500;
const WARM = 100;

/** Milliseconds until each block was visible, in order of size. */
const liveLatencies = (): Promise<readonly number[]> =>
  following(LIVE, async ({ devnet, committed }) => {
    const latencies: Promise<number>[] = [];
    const began = performance.now();
    for (let block = LIVE.blocks!; block < LIVE.blocks! + WARM + MEASURED; block++) {
      await delay(began + (block - LIVE.blocks!) * INTERVAL_MS - performance.now());
      const visible = committed(block);
      const told = performance.now();
      devnet.move({ move: 'advance', blocks: 1 });
      latencies.push(visible.then((at) => at - told));
    }
    return (await Promise.all(latencies)).slice(WARM).toSorted((a, b) => a - b);
  });

const REORG: ChainOptions = {
  seed: 6,
  blocks: 100,
  transfersPerBlock: 500,
  accounts: 50_000,
  tokens: 20,
  blockSeconds: 12,
};
const DEPTH = 64;

/** Milliseconds to load as many blocks, and to repair a reorg that takes them back and brings one more. */
const reorgRepairs = (
  runs: number,
): Promise<readonly { readonly load_ms: number; readonly repair_ms: number }[]> =>
  following(REORG, async ({ devnet, committed }) => {
    const figures: { load_ms: number; repair_ms: number }[] = [];
    let head = REORG.blocks! - 1;
    const timed = async (move: Parameters<DevnetChild['move']>[0], growth: number): Promise<number> => {
      head += growth;
      const visible = committed(head);
      const told = performance.now();
      devnet.move(move);
      return (await visible) - told;
    };
    for (let run = 0; run <= runs; run++) {
      const load_ms = await timed({ move: 'advance', blocks: DEPTH }, DEPTH);
      const repair_ms = await timed({ move: 'reorg', depth: DEPTH, blocks: DEPTH + 1 }, 1);
      // The first one warms everything.
      if (run > 0) figures.push({ load_ms, repair_ms });
    }
    return figures;
  });

/** The cases `live latency` and `reorg repair`. */
export async function* liveBench({ only, runs, say }: BenchOptions): AsyncGenerator<BenchResult> {
  if ('live latency'.includes(only)) {
    const latencies = await liveLatencies();
    const at = (share: number): number => latencies[Math.ceil(latencies.length * share) - 1]!;
    say(`live, ${1000 / INTERVAL_MS} blocks/s: p50 ${at(0.5).toFixed(1)}, p90 ${at(0.9).toFixed(1)} ms`);
    yield result('streams', `live latency p99, ${1000 / INTERVAL_MS} blocks/s`, at(0.99), 'ms', null);
  }
  if ('reorg repair'.includes(only)) {
    const figures = await reorgRepairs(runs);
    for (const { load_ms, repair_ms } of figures)
      say(`load ${load_ms.toFixed(0)} ms, repair ${repair_ms.toFixed(0)} ms`);
    yield result(
      'streams',
      `reorg repair, ${DEPTH} blocks × ${REORG.transfersPerBlock} transfers`,
      median(figures.map(({ repair_ms }) => repair_ms)),
      'ms',
      median(figures.map(({ load_ms }) => load_ms)),
    );
  }
}
