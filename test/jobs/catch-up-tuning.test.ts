/** Tuning: against servers that bear so many workers, the search ends near the number that is worth having. */
import { expect, test } from 'vitest';
import {
  addToMeasurement,
  rateOf,
  startMeasurement,
  startTuning,
  tuneWorkers,
} from '../../src/jobs/catch-up-tuning.ts';

/** The workers after a search, where `rate` says what so many of them achieve. */
const tuned = (most: number, rate: (workers: number) => number): number => {
  let tuning = startTuning('auto', most);
  for (let step = 0; step < 20 && !tuning.settled; step++) tuning = tuneWorkers(tuning, rate(tuning.workers));
  expect(tuning.settled).toBe(true);
  expect(tuneWorkers(tuning, 1e9)).toEqual(tuning);
  return tuning.workers;
};

test.each([
  ['each adds as much as the first', 8, (workers: number) => workers, 8],
  ['none adds anything', 8, () => 5, 1],
  ['two cores', 8, (workers: number) => Math.min(workers, 2), 2],
  ['more are in each other’s way', 16, (workers: number) => (workers <= 4 ? workers : 4 - workers / 8), 4],
  ['there are connections for three', 3, (workers: number) => workers, 3],
  ['there is one connection', 1, (workers: number) => workers, 1],
] as const)('%s', (_what, most, rate, expected) => {
  expect(tuned(most, rate)).toBe(expected);
});

test('a fixed number stays, as far as there are connections', () => {
  expect(startTuning(6, 8)).toMatchObject({ workers: 6, settled: true });
  expect(startTuning(6, 4)).toMatchObject({ workers: 4, settled: true });
});

test('a rate needs several partitions of each worker; without rows it counts blocks', () => {
  let measurement = startMeasurement(2, 1000);
  for (let partition = 0; partition < 5; partition++) measurement = addToMeasurement(measurement, 10, 300);
  expect(rateOf(measurement, 2000)).toBeNull();
  measurement = addToMeasurement(measurement, 10, 300);
  expect(rateOf(measurement, 2000)).toBe(1.8);
  expect(rateOf({ ...measurement, rows: 0 }, 2000)).toBe(0.06);
});
