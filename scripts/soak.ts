/** The long versions of the random tests: the same files as `npm test`, with counts that take hours. */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { globSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** How much more a file gets than in `npm test`; the first pattern that its path matches counts. */
const FACTORS: readonly (readonly [pattern: RegExp, factor: string])[] = [
  [/kill/u, '12.5x'], // 40 kills become 500
  [/^test\/jobs\/faults-/u, '10x'], // 10 runs of each fault become 100
  [/^test\/arrow\//u, '100x'], // 1,000 cases of each type become 100,000
  [/fold\.property/u, '25x'], // 200 histories become 5,000
  [/simulator/u, '100x'], // 200 histories become 20,000
  [/./u, '20x'],
];

/** Files whose cases are shared out among so many processes at once, each with a server of its own and other seeds; all others have one. */
const LANES: readonly (readonly [pattern: RegExp, lanes: number])[] = [[/simulator/u, 2]];

const SEED_LIMIT = 2 ** 31;

const factorOf = (file: string): string => FACTORS.find(([pattern]) => pattern.test(file))?.[1] ?? '1x';

/** Test files whose counts follow PGSTRATA_RANDOM_RUNS: those that take them from test/seed.ts. */
const randomTests = (names: readonly string[]): string[] =>
  globSync('test/**/*.test.ts', { cwd: ROOT, exclude: ['test/interop/**'] })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => /from '[./]+\/seed\.ts'/.test(readFileSync(join(ROOT, file), 'utf8')))
    .filter((file) => names.length === 0 || names.some((name) => file.includes(name)))
    .toSorted();

const VITEST = join(createRequire(import.meta.url).resolve('vitest/package.json'), '..', 'vitest.mjs');

/** What a process of a file is given: a seed, and its share of the cases. */
interface Lane {
  readonly seed: string;
  readonly factor: string;
}

/** Cases that were asked for by number are one process's, so that a failure comes again as it was. */
const lanesOf = (file: string, seed: string): readonly Lane[] => {
  const asked = process.env['PGSTRATA_RANDOM_RUNS'];
  if (asked !== undefined) return [{ seed, factor: asked }];
  const lanes = LANES.find(([pattern]) => pattern.test(file))?.[1] ?? 1;
  const factor = `${Number.parseFloat(factorOf(file)) / lanes}x`;
  return Array.from({ length: lanes }, (_unused, lane) => ({ seed: String(Number(seed) + lane), factor }));
};

/** Runs one file; the exit code of vitest. */
const runFile = async (file: string, { seed, factor }: Lane): Promise<number> => {
  // No time limit: how long a hundred thousand cases take is not what is tested.
  const tests = spawn(process.execPath, [VITEST, 'run', '--testTimeout=0', '--hookTimeout=0', file], {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, PGSTRATA_SEED: seed, PGSTRATA_RANDOM_RUNS: factor },
  });
  const [code] = (await once(tests, 'exit')) as [number | null];
  return code ?? 1;
};

const minutesSince = (start: number): string => ((performance.now() - start) / 60_000).toFixed(1);

/** Set by Ctrl-C, which reaches vitest too: it stops its server, we wait for that and start no further file. */
let stopped = false;

const soak = async (names: readonly string[]): Promise<boolean> => {
  const files = randomTests(names);
  if (files.length === 0) {
    process.stderr.write(`no test with random cases has ${names.join(' or ')} in its path\n`);
    return false;
  }
  const seed = process.env['PGSTRATA_SEED'] ?? String(randomInt(SEED_LIMIT));
  const failed: string[] = [];
  let passed = 0;
  for (const file of files) {
    if (stopped) break;
    const lanes = lanesOf(file, seed).map((lane) => ({
      ...lane,
      again: `PGSTRATA_SEED=${lane.seed} PGSTRATA_RANDOM_RUNS=${lane.factor} npm run soak -- ${file}`,
    }));
    for (const lane of lanes)
      process.stdout.write(
        `\n── ${file}, ${lane.factor} the cases, seed ${lane.seed}\n   again: ${lane.again}\n`,
      );
    const start = performance.now();
    const codes = await Promise.all(lanes.map((lane) => runFile(file, lane)));
    const broken = lanes.filter((_lane, index) => codes[index] !== 0);
    if (broken.length === 0) passed++;
    failed.push(...broken.map((lane) => lane.again));
    process.stdout.write(`── ${file}: ${minutesSince(start)} min\n`);
  }
  process.stdout.write(`\n${passed} of ${files.length} files passed, seed ${seed}\n`);
  for (const again of failed) process.stdout.write(`failed; run it again: ${again}\n`);
  return passed === files.length;
};

process.on('SIGINT', () => {
  stopped = true;
});
if (!(await soak(process.argv.slice(2)))) process.exitCode = 1;
