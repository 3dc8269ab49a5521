/** Are the balance tests any good? Runs them against wrong variants of the fold, each in scratch databases only: every one must be caught. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MUTATIONS } from '../test/balances/mutations.ts';
import { withScratchServer } from './scratch.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const VITEST = join(createRequire(import.meta.url).resolve('vitest/package.json'), '..', 'vitest.mjs');

/** The random histories first: what they catch needs no other file. Then what is aimed at one thing each, and quick. */
const SUITES = [
  ['test/balances/fold.property.test.ts'],
  ['heal', 'retention', 'verify', 'reads'].map((name) => `test/balances/${name}.test.ts`),
];

/** Histories per mutant; the first one that fails ends the run. */
const HISTORIES = '60';

interface Verdict {
  readonly name: string;
  readonly changes: string;
  readonly caughtBy: string | null;
  readonly seconds: number;
}

/** Runs the suite; whether it failed because a test did, which a broken set-up must not look like. */
const failsWith = async (name: string, suite: readonly string[], url: string): Promise<boolean> => {
  const file = join(await mkdtemp(join(tmpdir(), 'pgstrata-mutant-')), 'report.json');
  const args = [
    VITEST,
    'run',
    '--bail=1',
    '--reporter=json',
    `--outputFile=${file}`,
    '--silent=true',
    ...suite,
  ];
  const tests = spawn(process.execPath, args, {
    cwd: ROOT,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, TEST_DATABASE_URL: url, PGSTRATA_MUTATION: name, PGSTRATA_RANDOM_RUNS: HISTORIES },
  });
  await once(tests, 'close');
  const text = await readFile(file, 'utf8');
  await rm(dirname(file), { recursive: true });
  const report = JSON.parse(text) as Report;
  // A mutation that does not fit fails in beforeAll: then no assertion has run, and nothing was proven.
  const failed = report.testResults
    .flatMap((file) => file.assertionResults)
    .some((test) => test.status === 'failed');
  if (report.numFailedTestSuites > 0 && !failed)
    throw new Error(`mutation "${name}" could not be applied:\n${text.slice(0, 2000)}`);
  return failed;
};

interface Report {
  readonly numFailedTestSuites: number;
  readonly testResults: readonly { readonly assertionResults: readonly { readonly status: string }[] }[];
}

const judge = async (name: string, url: string): Promise<string | null> => {
  for (const suite of SUITES)
    if (await failsWith(name, suite, url)) return suite.length === 1 ? 'random histories' : 'a targeted test';
  return null;
};

const verdicts: Verdict[] = [];
const wanted = process.argv.slice(2);
await withScratchServer(async (url) => {
  for (const { name, changes } of MUTATIONS) {
    if (wanted.length > 0 && !wanted.some((part) => name.includes(part))) continue;
    const start = performance.now();
    const caughtBy = await judge(name, url);
    const seconds = Math.round((performance.now() - start) / 100) / 10;
    verdicts.push({ name, changes, caughtBy, seconds });
    const outcome = caughtBy === null ? 'SURVIVED' : `caught by ${caughtBy}`;
    console.log(`${name.padEnd(48)} ${`${changes}()`.padEnd(20)} ${outcome}, ${seconds} s`);
  }
});
const survivors = verdicts.filter((verdict) => verdict.caughtBy === null).map((verdict) => verdict.name);
console.log(
  JSON.stringify({ mutants: verdicts.length, caught: verdicts.length - survivors.length, survivors }),
);
if (survivors.length > 0 || verdicts.length === 0) process.exitCode = 1;
