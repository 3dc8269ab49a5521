/** The demo's maintenance: its first weeks are consolidated while later ones are being loaded. */
import type { Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { runMaintenance } from '../jobs/maintenance.ts';
import { readWeeks } from '../warehouse/partitions/weeks.ts';
import type { ConsolidateResult } from '../warehouse/partitions/consolidate/apply.ts';

/** What consolidation made of the demo's weeks; bytes are those of heaps and indexes together. */
export interface DemoWeeks {
  readonly consolidated_weeks: number;
  readonly partitions_before: number;
  readonly partitions_after: number;
  readonly bytes_before: number;
  readonly bytes_after: number;
}

const SETS = ['account_balances', 'balance_changes'];

/** Weeks of each set: what one run of the scheduler takes. */
export const FIRST_WEEKS = 5;

/**
 * Consolidates the first weeks of changes and balances, as `pgstrata maintain consolidate` would.
 *
 * @throws WarehouseError of the first set that failed
 */
export const consolidateFirstWeeks = async (pool: Pool, signal: AbortSignal): Promise<DemoWeeks> => {
  const before = await countTables(pool);
  const runs = await runMaintenance({
    pool,
    verb: 'consolidate',
    sets: SETS,
    now: new Date(),
    batch: FIRST_WEEKS,
    signal,
  });
  const failed = runs.find((run) => run.error !== null);
  if (failed !== undefined) throw failed.error!;
  const weeks = runs.flatMap((run) => (run.result as ConsolidateResult | null)?.weeks ?? []);
  if (weeks.length === 0 && !signal.aborted)
    throw new WarehouseError('internal', 'the demo found no week to consolidate');
  const after = await countTables(pool);
  const partitions = weeks.reduce((sum, week) => sum + (before.get(week.week) ?? 0), 0);
  return {
    consolidated_weeks: weeks.length,
    partitions_before: partitions,
    partitions_after: weeks.reduce((sum, week) => sum + (after.get(week.week) ?? 0), 0),
    bytes_before: weeks.reduce((sum, week) => sum + (week.bytes_before ?? 0), 0),
    bytes_after: weeks.reduce((sum, week) => sum + (week.bytes_after ?? 0), 0),
  };
};

/** Tables that hold rows, by the start of their week, of one set: both are cut alike. */
const countTables = async (pool: Pool): Promise<Map<string, number>> =>
  new Map(
    (await readWeeks(pool, SETS[0]!)).map((week) => [
      week.lower?.toISOString() ?? '',
      Math.max(week.leaves, 1),
    ]),
  );
