/** Streams: parallel catch-up, a followed stream and its reorgs, and how soon a run goes on behind a long ledger. */
import type { BenchOptions } from '../bench.ts';
import type { BenchResult } from './result.ts';
import { liveBench } from './streams-live.ts';
import { parallelBench } from './streams-parallel.ts';
import { resumeBench } from './streams-resume.ts';

/** All cases, each for itself. */
export async function* streamsBench(options: BenchOptions): AsyncGenerator<BenchResult> {
  yield* parallelBench(options);
  yield* liveBench(options);
  yield* resumeBench(options);
}
