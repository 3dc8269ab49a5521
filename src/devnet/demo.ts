/** The demo: a simulated chain in its own process, loaded over Arrow Flight into a fresh database. */
import { migrate } from '../db/migrate.ts';
import type { Pool } from '../db/query.ts';
import { connectFlight } from '../flight/client.ts';
import { ingest, type IngestEvent } from '../jobs/ingest.ts';
import { parseConfig } from '../runtime/config.ts';
import { verifyBalances } from '../warehouse/verify.ts';
import { busiestBalances, readSummary, type BalanceLine, type Summary } from '../warehouse/summary.ts';
import { spawnDevnet } from './child.ts';
import { consolidateFirstWeeks, type DemoWeeks } from './demo-weeks.ts';

/** Its chain: a block every ten minutes for a hundred days, so that it spans more than three months. */
const DEMO_CHAIN = {
  seed: 1,
  blocks: 14_400,
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
`;

/** What the demo tells: the fields of its JSON line, and a few balances for people. */
export interface DemoReport extends Summary, DemoWeeks {
  /** What `verify` found when every balance was recomputed: must be 0. */
  readonly differences: number;
  readonly balances: number;
  readonly state_rows: number;
  readonly blocks: number;
  readonly transfers: number;
  readonly seconds: number;
  /** Balance changes per second, Flight to committed. */
  readonly rows_per_second: number;
}

/** Where the demo runs and whom it tells. */
export interface DemoOptions {
  readonly pool: Pool;
  readonly connectionString: string;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
  readonly onEvent: (event: IngestEvent) => void;
}

/** Runs the demo against an empty database. */
export const runDemo = async (
  options: DemoOptions,
): Promise<{ report: DemoReport; busiest: BalanceLine[] }> => {
  const { pool, say } = options;
  say('applying migrations');
  await migrate({ connectionString: options.connectionString });
  say(
    `starting a simulated chain of ${DEMO_CHAIN.blocks.toLocaleString('en')} blocks behind an Arrow Flight server`,
  );
  const devnet = await spawnDevnet({ chain: DEMO_CHAIN });
  try {
    const config = parseConfig(demoPolicy(devnet.url), {}, 'demo');
    const client = connectFlight({ url: devnet.url });
    const started = performance.now();
    let weeks: Promise<DemoWeeks> | null = null;
    const onEvent = (event: IngestEvent): void => {
      options.onEvent(event);
      const block = event.kind === 'committed' ? (event.result.ranges.at(-1)?.range.end ?? 0) : 0;
      if (weeks !== null || block < DEMO_CHAIN.blocks / 2) return;
      say('consolidating the first weeks, while later ones are being loaded');
      weeks = consolidateFirstWeeks(pool, options.signal);
      weeks.catch(() => undefined); // told below, behind what the load has to say
    };
    const result = await ingest({
      pool,
      client,
      stream: 'demo',
      config: config.streams['demo']!,
      serverKind: 'amp',
      window: { from: null, to: null },
      follow: false,
      signal: options.signal,
      now: new Date(),
      onEvent,
    }).finally(() => client.close());
    const seconds = (performance.now() - started) / 1000;
    const consolidated = await (weeks ?? consolidateFirstWeeks(pool, options.signal));
    say('verifying: recomputing every balance from the changes');
    const { differences, balances, state_rows } = await verifyBalances(pool, { oneIn: 1 });
    const summary = await readSummary(pool);
    const report = {
      blocks: result.blocks,
      transfers: result.rows / 2,
      ...summary,
      balances,
      state_rows,
      differences,
      ...consolidated,
      seconds: Math.round(seconds * 100) / 100,
      rows_per_second: Math.round(result.rows / seconds),
    };
    return { report, busiest: await busiestBalances(pool, 8) };
  } finally {
    await devnet.stop();
  }
};
