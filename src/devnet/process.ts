/**
 * A devnet in a process of its own: options as one JSON argument, `{"url": …}` as one line when it listens; then each line of its
 * stdin moves a simulated chain.
 */
import { createInterface } from 'node:readline';
import { messageOf } from '../runtime/errors.ts';
import { createChain } from './chain.ts';
import type { ChainOptions, SimulatedChain } from './chain.ts';
import { replayChain } from './replay.ts';
import { startDevnet } from './server.ts';
import type { Devnet, DevnetOptions } from './server.ts';

/** What the process is told. */
export interface DevnetProcessOptions extends Omit<DevnetOptions, 'chain'> {
  /** The simulated chain; not used when `replay` is given. */
  readonly chain?: ChainOptions | undefined;
  /** Directory of recorded blocks to serve instead. */
  readonly replay?: string | undefined;
  /** A new block every so many milliseconds; none when absent. */
  readonly blockInterval_ms?: number | undefined;
}

/** What a line of stdin, in JSON, makes of the chain. */
export type ChainMove =
  /** So many blocks more. */
  | { readonly move: 'advance'; readonly blocks: number }
  /** A fork: `depth` blocks go, `blocks` come in their place. */
  | { readonly move: 'reorg'; readonly depth: number; readonly blocks: number };

/** A devnet whose chain can be moved, where it is a simulated one. */
export interface MovableDevnet extends Devnet {
  move(move: ChainMove): void;
}

/** Adds a block every `interval_ms` until the returned function is called. */
const advanceInRealTime = (chain: Pick<SimulatedChain, 'advance'>, interval_ms: number): (() => void) => {
  const timer = setInterval(() => chain.advance(1), interval_ms);
  return () => clearInterval(timer);
};

/** Starts what the options describe; `stop` of the result also ends the block production. */
export const startDevnetProcess = async (options: DevnetProcessOptions): Promise<MovableDevnet> => {
  const { chain: chainOptions, replay, blockInterval_ms, ...server } = options;
  const simulated = replay === undefined ? createChain(chainOptions) : null;
  const chain = simulated ?? replayChain(replay!);
  const move = (given: ChainMove): void => {
    if (given.move === 'advance') chain.advance(given.blocks);
    else simulated?.reorg(given.depth, given.blocks);
  };
  const devnet = { ...(await startDevnet({ ...server, chain })), move };
  if (blockInterval_ms === undefined) return devnet;
  const rest = advanceInRealTime(chain, blockInterval_ms);
  return {
    ...devnet,
    stop: async () => {
      rest();
      await devnet.stop();
    },
  };
};

const main = async (argument: string): Promise<void> => {
  const devnet = await startDevnetProcess(JSON.parse(argument) as DevnetProcessOptions);
  const stop = (): void => {
    process.stdin.destroy();
    void devnet.stop();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  // Whoever started us holds our stdin: when it closes, they are gone.
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => devnet.move(JSON.parse(line) as ChainMove)).once('close', stop);
  process.stdin.once('error', stop);
  process.stdout.write(`${JSON.stringify({ url: devnet.url })}\n`);
};

if (import.meta.main) {
  main(process.argv[2] ?? '{}').catch((error: unknown) => {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = 1;
  });
}
