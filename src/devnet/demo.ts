/** The demo: a simulated chain in its own process, loaded over Arrow Flight into a fresh database. */
import { migrate } from '../db/migrate.ts';
import type { Pool } from '../db/query.ts';
import type { DatabaseAddress } from '../db/sessions.ts';
import type { IngestEvent } from '../jobs/ingest.ts';
import { parseConfig } from '../runtime/config.ts';
import { postgresStore } from '../warehouse/state/postgres.ts';
import { verifyBalances } from '../warehouse/verify.ts';
import { busiestBalances, readSummary, type BalanceLine, type Summary } from '../warehouse/summary.ts';
import { spawnDevnet } from './child.ts';
import { DEMO_STREAM, LIVE_BLOCKS, runDemoStream } from './demo-stream.ts';
import { consolidateFirstWeeks, FIRST_WEEKS, type DemoWeeks } from './demo-weeks.ts';

/** Its chain: a block every ten minutes for a hundred days, so that it spans more than three months. The last ones come live. */
const DEMO_CHAIN = {
  seed: 1,
  blocks: 14_400 - LIVE_BLOCKS,
  blockSeconds: 600,
  transfersPerBlock: 30,
  accounts: 5000,
  tokens: 20,
};

/** The policy file a user would write for this server. */
const demoPolicy = (url: string): string => `
servers:
  devnet: { url: "${url}" }
streams:
  demo:
    server: devnet
    load: transfers
    query: SELECT _block_num, timestamp, log_index, token, "from", "to", value FROM transfers
    ordinal: log_index
    rules: ["to:+value", "from:-value"]
    parallel: { workers: 2, partition_blocks: 720 }
`;

/** What the demo tells: the fields of its JSON line, and a few balances for people. */
export interface DemoReport extends Summary, DemoWeeks {
  /** What `verify` found when every balance was recomputed: must be 0. */
  readonly differences: number;
  readonly balances: number;
  readonly state_rows: number;
  readonly blocks: number;
  readonly transfers: number;
  /** Forks that were taken back while the stream was live. */
  readonly reorgs: number;
  /** Times the stream was stopped and went on from its ledger. */
  readonly restarts: number;
  /** Holes in the ledger: must be 0. */
  readonly gaps: number;
  /** Seconds until history was loaded and folded. */
  readonly seconds: number;
  /** Balance changes per second, Flight to committed. */
  readonly rows_per_second: number;
}

/** Where the demo runs and whom it tells. */
export interface DemoOptions {
  readonly pool: Pool;
  /** Its database, for the stream's own connections. */
  readonly address: DatabaseAddress;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
  readonly onEvent: (event: IngestEvent) => void;
}

/** Runs the demo against an empty database. */
export const runDemo = async (
  options: DemoOptions,
): Promise<{ report: DemoReport; busiest: BalanceLine[] }> => {
  const { pool, address, signal, say } = options;
  say('applying migrations');
  await migrate({ connectionString: address.url });
  const { blocks } = DEMO_CHAIN;
  say(`starting a simulated chain of ${blocks.toLocaleString('en')} blocks behind an Arrow Flight server`);
  const devnet = await spawnDevnet({ chain: DEMO_CHAIN });
  try {
    let weeks: Promise<DemoWeeks> | null = null;
    let attached = 0;
    const onEvent = (event: IngestEvent): void => {
      options.onEvent(event);
      // History is loaded beside the sets: a week can be consolidated once it is whole, and a part of them.
      if (event.kind === 'week') attached++;
      if (weeks !== null || attached < FIRST_WEEKS) return;
      say('consolidating the first weeks, while later ones are being loaded');
      weeks = consolidateFirstWeeks(pool, signal);
      weeks.catch(() => undefined); // told below, behind what the load has to say
    };
    const config = parseConfig(demoPolicy(devnet.url), {}, 'demo');
    const stream = await runDemoStream({ address, config, devnet, blocks, signal, say, onEvent });
    const consolidated = await (weeks ?? consolidateFirstWeeks(pool, signal));
    say('verifying: recomputing every balance from the changes');
    const { differences, balances, state_rows } = await verifyBalances(pool, { oneIn: 1 });
    const summary = await readSummary(pool);
    const gaps = await postgresStore(pool, DEMO_STREAM).gaps('devnet', { from: 0, to: blocks + LIVE_BLOCKS });
    const report = {
      blocks: blocks + LIVE_BLOCKS - gaps.reduce((sum, { from, to }) => sum + to! - from!, 0),
      transfers: summary.balance_changes / 2,
      ...summary,
      balances,
      state_rows,
      differences,
      reorgs: stream.reorgs,
      restarts: stream.restarts,
      gaps: gaps.length,
      ...consolidated,
      seconds: Math.round(stream.seconds * 100) / 100,
      rows_per_second: Math.round(stream.rows / stream.seconds),
    };
    return { report, busiest: await busiestBalances(pool, 8) };
  } finally {
    await devnet.stop();
  }
};
