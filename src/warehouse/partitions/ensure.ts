/** Makes the weeks that rows are about to need, in a transaction of its own before the one that loads them. */
import { sql } from 'kysely';
import { on, type Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { instantOf, instantText, weekStart } from '../../runtime/instant.ts';

/** Instants that a set takes rows for, microseconds since 2000-01-01 UTC, both inclusive; the rest is quarantined. */
export interface SaneWindow {
  readonly earliest: number;
  readonly latest: number;
}

/** A managed set as its loaders need it. */
export interface WeekKeeper {
  readonly modulus: number;
  readonly window: SaneWindow;
  /** Makes sure that these weeks (numbers of `weekOf`) exist. */
  ensure(weeks: Iterable<number>): Promise<void>;
}

/**
 * Opens a managed set for loading. The window is fixed here, so that one run judges all its rows alike.
 *
 * @param now the present instant, for the window's end
 * @throws WarehouseError `config` when there is no such set
 */
export const openWeeks = async (pool: Pool, set: string, now: Date): Promise<WeekKeeper> => {
  const policy = await on(pool)
    .selectFrom('partition_sets')
    .select([
      'modulus',
      'window_start',
      sql<Date>`${now.toISOString()}::timestamptz + window_ahead`.as('window_end'),
    ])
    .where('set_name', '=', set)
    .executeTakeFirst();
  if (policy === undefined) {
    throw new WarehouseError('config', `there is no partition set ${set}`, {
      remedy: 'Run `pgstrata migrate`; the managed sets are the rows of strata.partition_sets.',
    });
  }
  const known = new Set<number>();
  return {
    modulus: policy.modulus,
    window: { earliest: instantOf(policy.window_start), latest: instantOf(policy.window_end) },
    ensure: async (weeks) => {
      for (const [first, last] of runs([...weeks].filter((week) => !known.has(week)))) {
        await sql`select strata.ensure_weeks(${set}, ${instantText(weekStart(first))}, ${instantText(weekStart(last))})`.execute(
          on(pool),
        );
        for (let week = first; week <= last; week++) known.add(week);
      }
    },
  };
};

/** Consecutive numbers as [first, last] pairs. */
export const runs = (numbers: readonly number[]): [number, number][] => {
  const result: [number, number][] = [];
  for (const number of numbers.toSorted((a, b) => a - b)) {
    const last = result.at(-1);
    if (last !== undefined && number <= last[1] + 1) last[1] = number;
    else result.push([number, number]);
  }
  return result;
};
