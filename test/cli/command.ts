/** Runs the command line as users do: in another process, in a folder of its own, with its policy file. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { runHosted } from './hosted.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/bin.ts');

/** How a process ended, and what it said. */
export interface Finished {
  /** Null after a signal. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running command. */
export interface RunningCommand {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Lines of stdout and stderr so far. */
  readonly lines: readonly string[];
}

/** Where commands run. */
export interface Folder {
  readonly path: string;
  /** Writes `pgstrata.yaml` (JSON is YAML) or, given text, exactly that. */
  writePolicy(policy: unknown): Promise<void>;
  /** Starts a command in a process of its own; `onLine` is told every line it prints. */
  start(
    args: readonly string[],
    environment?: NodeJS.ProcessEnv,
    onLine?: (line: string) => void,
  ): RunningCommand;
  /** Runs a command to its end, in a process that may have run others before: what takes signals, or is to be one of several, is started. */
  run(args: readonly string[], environment?: NodeJS.ProcessEnv): Promise<Finished>;
  remove(): Promise<void>;
}

/** What a child gets of our environment: nothing that speaks of databases, tests or terminals. */
const inherited = (): NodeJS.ProcessEnv => ({
  NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'], // or each start compiles anew what it does before it opens its own
  PATH: process.env['PATH'],
  HOME: process.env['HOME'],
  TZ: process.env['TZ'],
});

const startIn =
  (path: string): Folder['start'] =>
  (args, environment = {}, onLine = () => undefined) => {
    const child = spawn(process.execPath, [MAIN, ...args], {
      cwd: path,
      env: { ...inherited(), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const lines: string[] = [];
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        texts[name] += text;
      });
      createInterface({ input: child[name] }).on('line', (line) => {
        lines.push(line);
        onLine(line);
      });
    }
    const finished = new Promise<Finished>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve({ code, signal, ...texts }));
    });
    return { child, finished, lines };
  };

/** A fresh folder; remove it when done. */
export const openFolder = async (): Promise<Folder> => {
  const path = await mkdtemp(join(tmpdir(), 'pgstrata-cli-'));
  return {
    path,
    writePolicy: (policy) =>
      writeFile(join(path, 'pgstrata.yaml'), typeof policy === 'string' ? policy : JSON.stringify(policy)),
    start: startIn(path),
    run: (args, environment) =>
      runHosted({ args, cwd: path, environment: { ...inherited(), ...environment } }),
    remove: () => rm(path, { recursive: true, force: true }),
  };
};

/** The one line of JSON a command printed; fails when there is more, or less, on stdout. */
export const jsonOf = ({ stdout, stderr }: Finished): unknown => {
  const lines = stdout.split('\n').filter((line) => line !== '');
  if (lines.length !== 1)
    throw new Error(`${lines.length} lines on stdout instead of one:\n${stdout}\n${stderr}`);
  return JSON.parse(lines[0]!);
};
