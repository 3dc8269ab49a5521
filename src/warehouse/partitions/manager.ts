/** The partition manager as a library: one object for one set, whose methods are the SQL functions of schema strata. */
import { sql } from 'kysely';
import { on, type Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import type { ActivityGroup } from './activity-groups.ts';
import type { ApplyOptions } from './apply.ts';
import { isSharded } from './consolidate/columnar.ts';
import { consolidateOldWeeks, previewOldWeeks, type ConsolidationResult } from './consolidate/old-weeks.ts';
import { applyOptimize, planOptimize } from './optimize.ts';
import { unknownSet } from './plan.ts';
import { applyRetain } from './retain/apply.ts';
import { planRetain } from './retain/plan.ts';

/** A week that exists now. */
export interface EnsuredWeek {
  readonly week_start: Date;
  readonly partition: string;
  readonly created: boolean;
}

/** A table that holds rows of the set. */
export interface PartitionInfo {
  readonly schemaname: string;
  readonly tablename: string;
  /** Key of its week, such as `2026_01_04`; null for a partition without finite bounds, as the two dates. */
  readonly week_key: string | null;
  readonly week_start: Date | null;
  readonly week_end: Date | null;
  readonly partition_type: string;
  /** As of the last ANALYZE; null before it. */
  readonly row_count: number | null;
  /** For people, such as `17 MB`; {@link size_bytes} is the number. */
  readonly size: string;
  readonly size_bytes: number;
  readonly index_bytes: number;
}

/** Where a week stands. */
export interface ConsolidationStatus {
  readonly week_key: string;
  readonly week_start: Date | null;
  readonly week_end: Date | null;
  /** HASH_PARTITIONED, LIST_PARTITIONED or CONSOLIDATED; ODD, DEFAULT or FOREIGN for what maintenance leaves alone. */
  readonly partition_type: string;
  readonly partition_count: number;
  readonly row_count: number | null;
  readonly total_size: string;
  readonly total_bytes: number;
  /** Older than the set's `consolidate_after`. */
  readonly due: boolean;
  /** What keeps it from being consolidated, and what to do; null when nothing does. */
  readonly advice: string | null;
}

/** Which set. */
export interface ManagerOptions {
  /** `account_balances`. */
  readonly set?: string;
}

/** Weeks of one managed set. All times are UTC, all weeks go from Sunday to Sunday. */
export interface PartitionManager {
  readonly set: string;
  /**
   * Creates the weeks that are missing from `weekStart` up to, and not including, `weekEnd`.
   *
   * @param cut how these weeks and later ones are cut: a number of hash partitions, or groups for a set of list layout;
   *   as the set's policy says where absent
   * @throws WarehouseError `config` when the set is of the other layout, or the groups cannot be used
   */
  createWeeklyPartitions(
    weekStart: Date,
    weekEnd: Date,
    cut?: number | readonly ActivityGroup[],
  ): Promise<readonly EnsuredWeek[]>;
  /** Makes sure that there is a week for a row of this instant, or for rows from it to `until`. */
  ensurePartitionExists(instant: Date, until?: Date): Promise<void>;
  /** Every table that holds rows, in time order. */
  getPartitionInfo(): Promise<readonly PartitionInfo[]>;
  /** Every week and whether it is consolidated or due. */
  getConsolidationStatus(): Promise<readonly ConsolidationStatus[]>;
  /**
   * Consolidates the weeks that ended at least `months` ago while they are written to, as `pgstrata maintain consolidate`
   * does; one that fails is reported as FAILED and the others go on. Needs a pool of at least four connections.
   *
   * @param dryRun say what would be done, and do nothing
   * @throws WarehouseError `conflict` when another session maintains the set; `config` on a cluster, where weeks are stored by
   *   column instead
   */
  consolidateOldPartitions(months?: number, dryRun?: boolean): Promise<readonly ConsolidationResult[]>;
  /** Takes out the weeks that ended at or before the cutoff, never the one that holds it; returns their names. */
  dropOldPartitions(cutoff: Date): Promise<readonly string[]>;
  /** Analyzes the parents, which autovacuum never does, and freezes closed weeks. */
  optimizePartitions(): Promise<void>;
}

/**
 * The manager of one set.
 *
 * @param pool as `createPool` makes it
 *
 * @example
 * const manager = createPartitionManager(pool);
 * await manager.consolidateOldPartitions(3, true); // what would be done
 */
export const createPartitionManager = (
  pool: Pool,
  { set = 'account_balances' }: ManagerOptions = {},
): PartitionManager => {
  const ensure = async (from: Date, to: Date): Promise<readonly EnsuredWeek[]> => {
    const { rows } = await sql<EnsuredWeek>`
      select week_start, partition::text, created from strata.ensure_weeks(${set}, ${from}, ${to})`.execute(
      on(pool),
    );
    return rows;
  };
  return {
    set,
    createWeeklyPartitions: async (weekStart, weekEnd, cut) => {
      if (cut !== undefined) await cutBy(pool, set, cut);
      return ensure(weekStart, new Date(Math.max(weekStart.getTime(), weekEnd.getTime() - 1)));
    },
    ensurePartitionExists: async (instant, until = instant) => {
      await ensure(instant, until);
    },
    getPartitionInfo: async () =>
      (await sql<PartitionInfo>`select * from strata.partition_info(${set})`.execute(on(pool))).rows,
    getConsolidationStatus: async () =>
      (await sql<ConsolidationStatus>`select * from strata.consolidation_status(${set})`.execute(on(pool)))
        .rows,
    consolidateOldPartitions: async (months = 3, dryRun = true) => {
      if (await isSharded(pool, set)) throw storedByColumn(set);
      return (dryRun ? previewOldWeeks : consolidateOldWeeks)(pool, set, months);
    },
    dropOldPartitions: async (cutoff) => {
      const plan = await planRetain(pool, set, { now: new Date(), cutoff });
      const { weeks } = await applyRetain(pool, plan, UNWATCHED);
      return weeks.map((week) => week.name);
    },
    optimizePartitions: async () => {
      await applyOptimize(pool, await planOptimize(pool, set, { now: new Date() }), UNWATCHED);
    },
  };
};

const storedByColumn = (set: string): WarehouseError =>
  new WarehouseError('config', `the weeks of ${set} are cut into shards, which are not merged`, {
    remedy:
      'A cluster stores old weeks by column: planOldWeeks() and applyOldWeeks() do, as `pgstrata maintain consolidate` does.',
  });

/** Changes how new weeks of the set are cut. */
const cutBy = async (pool: Pool, set: string, cut: number | readonly ActivityGroup[]): Promise<void> => {
  const byHash = typeof cut === 'number';
  const { rows } = await sql<{ layout: string }>`
    select layout from strata.partition_sets where set_name = ${set}`.execute(on(pool));
  const layout = rows[0]?.layout;
  if (layout === undefined) throw unknownSet(set);
  if ((layout === 'hash') !== byHash) {
    throw new WarehouseError('config', `the weeks of ${set} are cut by ${layout}`, {
      remedy: byHash
        ? 'Give activity groups instead of a number of hash partitions.'
        : 'Give a number of hash partitions, or create a set of list layout: strata.create_partition_set(…, groups => …).',
    });
  }
  await on(pool)
    .updateTable('partition_sets')
    .set(byHash ? { modulus: cut } : { groups: JSON.stringify(cut) })
    .where('set_name', '=', set)
    .execute()
    .catch((thrown: unknown) => {
      const { code = '', message = '' } = thrown as { code?: string; message?: string };
      if (code !== INVALID_PARAMETER && code !== CHECK_VIOLATION) throw thrown;
      throw new WarehouseError(
        'config',
        message,
        {
          remedy: 'Give 1 to 1024 hash partitions, or groups as createActivityGroups() makes them.',
        },
        thrown,
      );
    });
};

/** SQLSTATEs of check_groups() and of a modulus out of range. */
const INVALID_PARAMETER = '22023';
const CHECK_VIOLATION = '23514';

/** Maintenance that nobody stops or watches. */
const UNWATCHED: ApplyOptions = { signal: new AbortController().signal, onEvent: () => undefined };
