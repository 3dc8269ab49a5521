/** Finds how many workers are worth having: more of them as long as the rate rises, then what was best. Pure. */

/** Where the search stands. */
export interface Tuning {
  readonly workers: number;
  /** Most workers there may be. */
  readonly most: number;
  /** The number before this one and its rate; null in the first step. */
  readonly before: { readonly workers: number; readonly rate: number } | null;
  /** Whether the search is over. */
  readonly settled: boolean;
}

/** What makes a rate a higher one, and not the same one measured twice. */
const RISE_MIN = 1.1;

/** A search that begins with one worker; with a fixed number there is nothing to search. */
export const startTuning = (workers: number | 'auto', most: number): Tuning => ({
  workers: Math.min(most, workers === 'auto' ? 1 : workers),
  most,
  before: null,
  settled: workers !== 'auto' || most === 1,
});

/** The next step, after a rate was measured: twice as many, or back to the number before when that was no worse. */
export const tuneWorkers = (tuning: Tuning, rate: number): Tuning => {
  const { workers, most, before } = tuning;
  if (tuning.settled) return tuning;
  if (before !== null && rate < before.rate * RISE_MIN)
    return { ...tuning, workers: before.workers, settled: true };
  if (workers === most) return { ...tuning, settled: true };
  return { ...tuning, workers: Math.min(most, workers * 2), before: { workers, rate } };
};

/** A rate in the making: what was done since the number of workers changed. */
export interface Measurement {
  readonly workers: number;
  readonly since_ms: number;
  readonly partitions: number;
  readonly rows: number;
  readonly blocks: number;
}

/** Partitions per worker that make a rate: fewer say more about chance. */
const PARTITIONS_PER_WORKER = 3;

/** A measurement that begins now. */
export const startMeasurement = (workers: number, now_ms: number): Measurement => ({
  workers,
  since_ms: now_ms,
  partitions: 0,
  rows: 0,
  blocks: 0,
});

/** The measurement with one more partition. */
export const addToMeasurement = (measurement: Measurement, blocks: number, rows: number): Measurement => ({
  ...measurement,
  partitions: measurement.partitions + 1,
  rows: measurement.rows + rows,
  blocks: measurement.blocks + blocks,
});

/** Rows per millisecond, or blocks where there are no rows; null while it is too early to say. */
export const rateOf = (measurement: Measurement, now_ms: number): number | null => {
  const { workers, since_ms, partitions, rows, blocks } = measurement;
  if (partitions < workers * PARTITIONS_PER_WORKER) return null;
  return (rows > 0 ? rows : blocks) / Math.max(1, now_ms - since_ms);
};
