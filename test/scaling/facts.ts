/** Warehouses for the tests of judging: made of figures alone. */
import type { SetFacts, TopologyFacts } from '../../src/warehouse/scaling/facts.ts';

const WEEK_MS = 7 * 86_400_000;
/** A Wednesday. */
export const NOW = new Date('2026-03-04T12:00:00Z');
const FIRST = Date.parse('2026-01-04T00:00:00Z');

/** A set with equal weeks from 2026-01-04 on; the ninth holds {@link NOW}. */
export const setOf = (
  name: string,
  { weeks = 9, bytes = 0, rows = 0, retain = null as number | null, leaves = 4 } = {},
): SetFacts => ({
  name,
  qualified: `strata.${name}`,
  columns: ['account_address', 'asset_id', 'block_time', 'delta'],
  time_column: 'block_time',
  hash_column: 'account_address',
  hashes_bytes: true,
  retain_weeks: retain,
  weeks: Array.from({ length: weeks }, (_unused, index) => {
    const lower = new Date(FIRST + index * WEEK_MS);
    return {
      name: `${name}_${lower.toISOString().slice(0, 10).replaceAll('-', '_')}`,
      lower,
      upper: new Date(lower.getTime() + WEEK_MS),
      leaves,
      rows,
      heap_bytes: bytes / 2,
      index_bytes: bytes / 2,
    };
  }),
});

/** A warehouse of such sets. */
export const warehouseOf = (
  sets: readonly SetFacts[],
  server: Partial<TopologyFacts['server']> = {},
): TopologyFacts => ({
  server: {
    version: '18.4',
    database_bytes: sets
      .flatMap(({ weeks }) => weeks)
      .reduce((sum, week) => sum + week.heap_bytes + week.index_bytes, 0),
    state_bytes: 0,
    max_locks_per_transaction: 512,
    lock_capacity: 51_200,
    streams: 1,
    ...server,
  },
  sets,
  others: [],
  labels: [],
  skew: null,
});
