/** Makes the weeks that rows are about to need, in a transaction of its own before the one that loads them. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { instantOf, instantText, weekStart } from '../../runtime/instant.ts';
import type { SettledEntry } from '../datasets.ts';

/** Instants that a set takes rows for, microseconds since 2000-01-01 UTC, both inclusive; the rest is quarantined. */
export interface SaneWindow {
  /** The set's `window_start`, or what retention has dropped where that is later. */
  readonly earliest: number;
  readonly latest: number;
  /** Weeks before this were dropped by retention; −∞ while none was. */
  readonly retainedFrom: number;
}

/** Why a row of this instant has no place in the set, as quarantine says it; null when it has one. */
export const outsideReason = (
  { earliest, latest, retainedFrom }: SaneWindow,
  at: number,
  column: string,
  set: string,
): string | null => {
  if (at >= earliest && at <= latest) return null;
  return at < retainedFrom && earliest === retainedFrom
    ? `older than retention: ${column} lies before what ${set} keeps`
    : `${column} lies outside the sane window of ${set}`;
};

/** A managed set as its loaders need it. */
export interface WeekKeeper {
  readonly modulus: number;
  readonly window: SaneWindow;
  /**
   * Makes sure that these weeks (numbers of `weekOf`) exist, but for those that retention has dropped.
   *
   * @param open the caller's transaction, if it has written already. On a cluster a week is made there, because Citus would
   *   have its maker wait for everybody who has written to the set
   */
  ensure(weeks: Iterable<number>, open?: Client | null): Promise<void>;
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
      sql<boolean>`strata.is_distributed(parent)`.as('distributed'),
      sql<Date | null>`nullif(retained_from, '-infinity')`.as('retained_from'),
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
  const retainedFrom = policy.retained_from === null ? -Infinity : instantOf(policy.retained_from);
  return {
    modulus: policy.modulus,
    window: {
      earliest: Math.max(instantOf(policy.window_start), retainedFrom),
      latest: instantOf(policy.window_end),
      retainedFrom,
    },
    ensure: async (weeks, open = null) => {
      const within = policy.distributed ? open : null;
      for (const [first, last] of runs([...weeks].filter((week) => !known.has(week)))) {
        await sql`select strata.ensure_weeks(${set}, ${instantText(weekStart(first))}, ${instantText(weekStart(last))})`.execute(
          on(within ?? pool),
        );
        if (within !== null) continue; // it may be rolled back
        for (let week = first; week <= last; week++) known.add(week);
      }
    },
  };
};

/**
 * Refuses to commit rows of weeks that retention has dropped since they were read; called behind the ledger rows and before
 * the fold, whose lock it takes.
 *
 * @throws WarehouseError `conflict`, SQLSTATE 40001: the same rows read again go to quarantine
 */
export const refuseDropped = async (
  client: Client,
  set: string,
  entries: readonly Pick<SettledEntry, 'sourceId' | 'range'>[],
): Promise<void> => {
  for (const { sourceId, range } of entries) {
    await sql`select strata.refuse_dropped(${set}, ${sourceId}::smallint, ${range.start}, ${range.end})`.execute(
      on(client),
    );
  }
};

/**
 * The name of the set that a table is managed as.
 *
 * @throws WarehouseError `config` when it is none
 */
export const partitionSetOf = async (
  pool: Pool,
  { schema, table }: { readonly schema: string; readonly table: string },
): Promise<string> => {
  const { rows } = await sql<{ set_name: string }>`
    select s.set_name
      from strata.partition_sets s
      join pg_catalog.pg_class c on c.oid = s.parent
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = ${schema} and c.relname = ${table}`.execute(on(pool));
  const [row] = rows;
  if (row !== undefined) return row.set_name;
  throw new WarehouseError('config', `${schema}.${table} is no partition set`, {
    remedy: `Put it under management with select strata.create_partition_set(…), or leave out \`partition\`.`,
  });
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
