/** Starts a devnet in a process of its own and waits until it listens. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { WarehouseError } from '../runtime/errors.ts';
import type { ChainMove, DevnetProcessOptions } from './process.ts';

/** A devnet in another process. */
export interface DevnetChild {
  readonly url: string;
  readonly pid: number;
  /** Moves its chain, soon. */
  move(move: ChainMove): void;
  /** Ends the process and waits for it. */
  stop(): Promise<void>;
}

/** The program: TypeScript here, JavaScript once built. */
const PROGRAM = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './process.ts' : './process.js', import.meta.url),
);

/**
 * Starts `process.ts` with these options.
 *
 * @throws WarehouseError `internal` when it ends before it listens; its words are on stderr.
 */
export const spawnDevnet = async (options: DevnetProcessOptions): Promise<DevnetChild> => {
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const first = once(lines, 'line') as Promise<[string]>;
  const failed = ended.then(() => {
    throw new WarehouseError('internal', 'the devnet process ended before it listened');
  });
  const [line] = await Promise.race([first, failed]);
  failed.catch(() => undefined);
  const { url } = JSON.parse(line) as { url: string };
  return {
    url,
    pid: child.pid ?? 0,
    move: (move) => void child.stdin.write(`${JSON.stringify(move)}\n`),
    stop: async () => {
      child.stdin.end();
      child.kill('SIGTERM');
      await ended;
    },
  };
};
