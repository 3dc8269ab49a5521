/**
 * The demo's stream: history by two workers, then live through forks and a restart, as `pgstrata ingest --follow` loads it.
 *
 * ```
 *   history, in partitions ──► live ──► forks ──► stopped, a fork meanwhile ──► live again ──► stopped at the last block
 * ```
 */
import type { DatabaseAddress } from '../db/sessions.ts';
import { connectFlight } from '../flight/client.ts';
import { createHealthLog, type HealthLog } from '../jobs/health.ts';
import type { IngestEvent } from '../jobs/ingest.ts';
import { superviseStream } from '../jobs/supervise.ts';
import type { Config } from '../runtime/config.ts';
import { resilienceOf } from '../runtime/config.ts';
import { systemClock } from '../runtime/resilience.ts';
import type { DevnetChild } from './child.ts';
import type { ChainMove } from './process.ts';

/** Its name in the policy. */
export const DEMO_STREAM = 'demo';

/** What happens to the chain once its history is loaded, and what is said of it. */
interface Act {
  readonly say: string;
  readonly move: ChainMove;
  /** Whether the stream is stopped meanwhile, and started again behind it. */
  readonly stopped?: true;
}

const ACTS: readonly Act[] = [
  { say: '20 more blocks come in one batch', move: { move: 'advance', blocks: 20 } },
  {
    say: 'a fork in the middle of that batch takes 7 blocks back',
    move: { move: 'reorg', depth: 7, blocks: 9 },
  },
  { say: 'a fork takes 2 blocks back', move: { move: 'reorg', depth: 2, blocks: 3 } },
  {
    say: 'stopping the stream; while it is away a fork takes 12 blocks back',
    move: { move: 'reorg', depth: 12, blocks: 20 },
    stopped: true,
  },
  { say: 'the chain goes on', move: { move: 'advance', blocks: 29 } },
];

const growthOf = ({ move }: Act): number => (move.move === 'reorg' ? move.blocks - move.depth : move.blocks);

/** Blocks that come once history is loaded. */
export const LIVE_BLOCKS = ACTS.reduce((sum, act) => sum + growthOf(act), 0);

/** What the stream came to. */
export interface DemoStreamReport {
  /** Forks that were taken back. */
  readonly reorgs: number;
  /** Times it was stopped and went on from its ledger. */
  readonly restarts: number;
  /** Seconds until history was loaded and folded, and the first new block with it. */
  readonly seconds: number;
  /** Balance changes loaded in that time. */
  readonly rows: number;
}

/** What it runs on. */
export interface DemoStreamOptions {
  readonly address: DatabaseAddress;
  readonly config: Config;
  readonly devnet: DevnetChild;
  /** Blocks of the chain at the beginning. */
  readonly blocks: number;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
  readonly onEvent: (event: IngestEvent) => void;
}

/** A run of the stream, until it is stopped. */
interface Running {
  /** Waits until this block is committed. @throws why the stream ended */
  readonly reached: (block: number) => Promise<void>;
  readonly stop: () => Promise<unknown>;
}

const start = (options: DemoStreamOptions, health: HealthLog): Running => {
  const { address, config, devnet, signal, onEvent } = options;
  const stopping = new AbortController();
  const waiting = new Map<number, () => void>();
  const result = superviseStream({
    stream: DEMO_STREAM,
    config: config.streams[DEMO_STREAM]!,
    serverKind: 'amp',
    window: { from: null, to: null },
    follow: true,
    signal: AbortSignal.any([signal, stopping.signal]),
    database: () => Promise.resolve(address),
    connect: () => Promise.resolve(connectFlight({ url: devnet.url })),
    resilience: resilienceOf(config, DEMO_STREAM),
    health,
    onEvent: (event) => {
      onEvent(event);
      if (event.kind === 'committed') waiting.get(event.result.ranges.at(-1)?.range.end ?? -1)?.();
    },
  });
  result.catch(() => undefined); // whoever waits for a block, or for the end, hears of it
  return {
    reached: (block) =>
      Promise.race([
        new Promise<void>((resolve) => waiting.set(block, resolve)),
        result.then(() => signal.throwIfAborted()),
      ]),
    stop: () => {
      stopping.abort(new Error('the demo has seen enough'));
      return result;
    },
  };
};

/** Plays the demo's acts. */
export const runDemoStream = async (options: DemoStreamOptions): Promise<DemoStreamReport> => {
  const { address, devnet, blocks, say } = options;
  const health = createHealthLog(
    () => address,
    systemClock,
    (text) => text,
  );
  const began = performance.now();
  let [rows, reorgs, restarts] = [0, 0, 0];
  let loaded: Pick<DemoStreamReport, 'rows' | 'seconds'> | null = null;
  const begin = (): Running =>
    start(
      {
        ...options,
        onEvent: (event) => {
          if (event.kind === 'committed') rows += event.result.rows;
          if (event.kind === 'reorg') reorgs++;
          options.onEvent(event);
        },
      },
      health,
    );
  let stream = begin();
  try {
    await stream.reached(blocks - 1);
    let head = blocks - 1;
    for (const act of ACTS) {
      say(act.say);
      head += growthOf(act);
      if (act.stopped) {
        await stream.stop();
        devnet.move(act.move);
        stream = begin();
        restarts++;
      }
      const reached = stream.reached(head);
      if (!act.stopped) devnet.move(act.move);
      await reached;
      // The first new block is taken when all before it is folded.
      loaded ??= { rows, seconds: (performance.now() - began) / 1000 };
    }
    await stream.stop();
    return { reorgs, restarts, ...loaded! };
  } finally {
    await stream.stop().catch(() => undefined);
    await health.close();
  }
};
