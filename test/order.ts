/** The order of the test files: the longest first, so that none of them is what a whole run waits for in the end. */
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';

/** Files of more than ten seconds, the longest first. */
const LONGEST = [
  'jobs/kill',
  'balances/fold.property',
  'streams/simulator',
  'jobs/faults-wire',
  'partitions/consolidate-kill',
  'partitions/consolidate-truth',
  'cli/schedule',
  'real/reorg-cases',
  'db/embedded',
  'cli/demo',
  'balances/scale',
  'snapshots/histories',
  'jobs/faults-postgres',
  'cli/stop',
  'cli/follow',
  'jobs/supervise',
  'partitions/retain-crash',
  'partitions/adopt-kill',
  'cli/maintain',
  'cli/faults',
  'jobs/ingest',
  'partitions/retain',
  'partitions/retain-load',
  'balances/week',
  'balances/concurrency',
  'partitions/estimate',
  'jobs/standby',
];

const rankOf = ({ moduleId }: TestSpecification): number => {
  const rank = LONGEST.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
  return rank === -1 ? LONGEST.length : rank;
};

/** Vitest's own order but for the longest files. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).toSorted((one, other) => rankOf(one) - rankOf(other));
  }
}
