/** Scale: years of history in one go, and several machines. */
import type { BenchOptions } from '../bench.ts';
import type { BenchResult } from './result.ts';
import { backfillBench } from './scale-backfill.ts';
import { citusBench } from './scale-citus.ts';
import { historyBench } from './scale-history.ts';

/** All cases, each for itself. */
export async function* scaleBench(options: BenchOptions): AsyncGenerator<BenchResult> {
  yield* backfillBench(options);
  yield* historyBench(options);
  yield* citusBench(options);
}
