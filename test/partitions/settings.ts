/** Weeks and patience of the consolidation tests, also for processes that are no tests. */
import type { Patience } from '../../src/warehouse/partitions/consolidate/ladder.ts';

/** The first week of the tests, a Sunday. */
export const WEEK = new Date('2024-01-14T00:00:00Z');
export const NOW = new Date('2024-12-01T00:00:00Z');

/** Start of the n-th week. */
export const weekAt = (n: number): Date => new Date(WEEK.getTime() + n * 7 * 86_400_000);

/** Tries again soon, so that tests do not wait. */
export const QUICK: Patience = {
  lockWaits_ms: [20, 50, 100, 200],
  attempts: 200,
  pause_ms: 10,
  gate_ms: 20_000,
  snapshots_ms: 2_000,
};
