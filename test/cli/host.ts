/** A process that runs one command after another, as `bin.ts` would: what loads the program is paid for once. */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { inspect } from 'node:util';

/** A command to run. */
export interface Command {
  readonly args: readonly string[];
  readonly cwd: string;
  readonly environment: NodeJS.ProcessEnv;
}

/** Ends what a command has said, on either stream. */
export const END_OF_OUTPUT = '\0';

/** A command that left something open would not have ended by itself. */
const LINGER_LIMIT_MS = 5_000;

/** No exit code of a command. */
const EXIT_BROKEN = 70;

/** What keeps the process alive, by kind; an immediate is gone by the next turn, and says nothing. */
const alive = (): Map<string, number> => {
  const kinds = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo())
    if (kind !== 'Immediate') kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return kinds;
};

const setEnvironment = (environment: NodeJS.ProcessEnv): void => {
  for (const name of Object.keys(process.env)) delete process.env[name];
  for (const [name, value] of Object.entries(environment)) if (value !== undefined) process.env[name] = value;
};

const untilNothingIsOpen = async (before: ReadonlyMap<string, number>): Promise<void> => {
  const deadline = performance.now() + LINGER_LIMIT_MS;
  const left = (): string[] =>
    [...alive()].filter(([kind, count]) => count > (before.get(kind) ?? 0)).map(([kind]) => kind);
  while (left().length > 0) {
    if (performance.now() > deadline) throw new Error(`the command left open: ${left().join(', ')}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

const run = async ({ args, cwd, environment }: Command): Promise<number> => {
  const { main } = await import('../../src/cli/main.ts');
  process.chdir(cwd);
  setEnvironment(environment);
  process.exitCode = undefined;
  void [process.stdout, process.stderr]; // opened when first looked at, and to stay
  const before = alive();
  const code = await main([process.execPath, 'pgstrata', ...args]);
  process.exitCode = undefined;
  await untilNothingIsOpen(before);
  return code;
};

const answer = async (command: Command): Promise<void> => {
  const code = await run(command);
  process.stdout.write(END_OF_OUTPUT);
  process.stderr.write(END_OF_OUTPUT);
  process.send?.(code);
};

const serve = (): void => {
  process.on('message', (command: Command) => {
    // Whoever asked hears of a failure by our end, with what it says on stderr.
    answer(command).catch((error: unknown) => {
      process.stderr.write(`${inspect(error)}\n`);
      process.exit(EXIT_BROKEN);
    });
  });
  process.on('disconnect', () => process.exit());
};

if (import.meta.main) {
  enableCompileCache(join(import.meta.dirname, '../../node_modules/.cache/pgstrata')); // where bin.ts keeps it
  serve();
}
