/** Runs a benchmark: `npm run bench -- NAME [case] [--json] [--runs N]`; one line per result. */
import { parseArgs } from 'node:util';
import type { BenchResult } from './bench/result.ts';

/** How a benchmark is run. */
export interface BenchOptions {
  /** Only cases whose name contains this. */
  readonly only: string;
  /** Alternating runs of ours and the reference; medians are reported. */
  readonly runs: number;
  readonly say: (text: string) => void;
}

const BENCHES: Readonly<
  Record<string, () => Promise<(options: BenchOptions) => AsyncGenerator<BenchResult>>>
> = {
  encode: async () => (await import('./bench/encode.ts')).encodeBench,
  balances: async () => (await import('./bench/balances.ts')).balancesBench,
  consolidate: async () => (await import('./bench/consolidate.ts')).consolidateBench,
  labels: async () => (await import('./bench/labels.ts')).labelsBench,
  ingest: async () => (await import('./bench/ingest.ts')).ingestBench,
  ensure: async () => (await import('./bench/ensure.ts')).ensureBench,
  scale: async () => (await import('./bench/scale.ts')).scaleBench,
  streams: async () => (await import('./bench/streams.ts')).streamsBench,
  page: async () => (await import('./bench/page.ts')).pageBench,
  queries: async () => (await import('./bench/queries.ts')).queriesBench,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false }, runs: { type: 'string', default: '5' } },
});
const [name = '', only = ''] = positionals;
const load = BENCHES[name];
if (load === undefined) {
  process.stderr.write(
    `usage: npm run bench -- ${Object.keys(BENCHES).join('|')} [case] [--json] [--runs N]\n`,
  );
  process.exit(2);
}
const run = await load();
for await (const result of run({
  only,
  runs: Number(values.runs),
  say: (text) => process.stderr.write(`${text}\n`),
})) {
  const { bench, case: what, value, unit, reference, ratio } = result;
  const line = `${bench} ${what}: ${Math.round(value).toLocaleString('en')} ${unit}${reference === null ? '' : `, reference ${Math.round(reference).toLocaleString('en')}, ratio ${ratio?.toFixed(2)}`}`;
  process.stdout.write(`${values.json ? JSON.stringify(result) : line}\n`);
}
