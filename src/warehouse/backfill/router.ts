/** Where balance changes go: into the set, or into a week that stands beside it until it is whole. */
import { sql } from 'kysely';
import { CHANGE_COLUMNS, type ChangeBuffer } from '../../arrow/changes.ts';
import { recycleFrame } from '../../arrow/frame.ts';
import { copyIn } from '../../db/copy-in.ts';
import { on, type Client, type Pool } from '../../db/query.ts';
import { instantOf, instantText, weekOf, weekStart } from '../../runtime/instant.ts';

/**
 * Weeks that stand beside the set at once, incomplete ones and those that wait to be attached: it bounds the tables and locks of
 * one transaction (five each). Rows of any further week go the ordinary way.
 */
const WEEKS_OPEN_MAX = 32;

/** Weeks by their numbers (of `weekOf`), each with the table that takes its rows. */
export type WeeksApart = ReadonlyMap<number, string>;

const NONE: WeeksApart = new Map();

const textOf = (weeks: Iterable<number>): string[] => [...weeks].map((week) => instantText(weekStart(week)));

/**
 * Which of the weeks stand beside the set; they stay there until the transaction of `client` ends.
 *
 * @param history whether its commit need not wait for the disk where there are such weeks: what is lost is lost with its position,
 *   and comes again
 */
export const weeksApart = async (
  client: Client,
  weeks: ReadonlySet<number>,
  history: boolean,
): Promise<WeeksApart> => {
  if (weeks.size === 0) return NONE;
  const { rows } = await sql<{ week_start: Date; changes: string }>`
    select week_start, changes, case when ${history} then set_config('synchronous_commit', 'off', true) end from strata.weeks_apart(${textOf(weeks)}::timestamptz[])`.execute(
    on(client),
  );
  return new Map(rows.map((row) => [weekOf(instantOf(row.week_start)), row.changes]));
};

/** Copies the changes of weeks that stand beside the set to their tables: no index is there to be kept, so no order is needed. */
export const copyApart = async (
  client: Client,
  sourceId: number,
  changes: ChangeBuffer,
  apart: ReadonlyMap<number, Uint32Array>,
  tables: WeeksApart,
): Promise<void> => {
  for (const [week, part] of apart) {
    const copy = `copy ${tables.get(week)!} (${CHANGE_COLUMNS.join(', ')}) from stdin (format binary)`;
    await copyIn(client, copy, changes.frames(sourceId, part), { onSent: recycleFrame });
  }
};

/** Opens weeks beside the set for a load of history. */
export interface WeekOpener {
  /** Which of these weeks stand beside the set, those among them that were opened now; all others are for `WeekKeeper.ensure`. */
  open(weeks: ReadonlySet<number>): Promise<ReadonlySet<number>>;
}

/** @param now the present instant: weeks that have not ended by then are never opened */
export const createWeekOpener = (pool: Pool, now: Date): WeekOpener => {
  const known = new Map<number, boolean>();
  return {
    open: async (weeks) => {
      const asked = [...weeks].filter((week) => !known.has(week));
      if (asked.length > 0) {
        const { rows } = await sql<{ week: Date }>`
          select week from strata.open_backfill_weeks(${textOf(asked)}::timestamptz[], ${now.toISOString()}, ${WEEKS_OPEN_MAX}) week`.execute(
          on(pool),
        );
        const opened = new Set(rows.map((row) => weekOf(instantOf(row.week))));
        for (const week of asked) known.set(week, opened.has(week));
      }
      return new Set([...weeks].filter((week) => known.get(week) === true));
    },
  };
};
