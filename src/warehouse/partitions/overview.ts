/** The managed sets at a glance: weeks by kind, how far ahead they reach, what they weigh, what is held. */
import { sql } from 'kysely';
import { on, type Pool } from '../../db/query.ts';
import { instantOf, weekOf } from '../../runtime/instant.ts';
import { readSetNames } from './runs.ts';
import { readWeeks, type WeekInfo, type WeekKind } from './weeks.ts';

/** One set in one line. */
export interface SetOverview {
  readonly set: string;
  readonly weeks: number;
  /** How many partitions there are of each kind. */
  readonly kinds: Readonly<Partial<Record<WeekKind, number>>>;
  readonly leaves: number;
  /** Whole weeks behind the present one that exist without a gap; −1 when the present one is missing. */
  readonly runway_weeks: number;
  readonly bytes: number;
  /** Weeks that were taken out and wait to be dropped. */
  readonly held: number;
  readonly held_bytes: number;
}

/** Reads the overview of some sets; catalog reads only. */
export const readOverview = async (
  pool: Pool,
  sets: readonly string[] | null,
  now: Date,
): Promise<readonly SetOverview[]> => {
  const held = await readHeld(pool);
  const lines: SetOverview[] = [];
  for (const set of sets ?? (await readSetNames(pool))) {
    const weeks = await readWeeks(pool, set);
    const kept = held.get(set);
    lines.push({
      set,
      weeks: weeks.length,
      kinds: countKinds(weeks),
      leaves: total(weeks, 'leaves'),
      runway_weeks: runwayOf(weeks, now),
      bytes: total(weeks, 'total_bytes'),
      held: kept?.held ?? 0,
      held_bytes: kept?.bytes ?? 0,
    });
  }
  return lines;
};

/** Weeks behind the present one that are there without a gap. */
export const runwayOf = (
  weeks: readonly Pick<WeekInfo, 'lower' | 'upper' | 'detach_pending'>[],
  now: Date,
): number => {
  let until = now;
  for (const week of weeks.toSorted((a, b) => (a.lower?.getTime() ?? 0) - (b.lower?.getTime() ?? 0))) {
    if (week.lower === null || week.upper === null || week.detach_pending) continue;
    if (week.lower <= until && week.upper > until) until = week.upper;
  }
  return until === now ? -1 : weekOf(instantOf(until)) - weekOf(instantOf(now)) - 1;
};

const countKinds = (weeks: readonly WeekInfo[]): Partial<Record<WeekKind, number>> => {
  const counts: Partial<Record<WeekKind, number>> = {};
  for (const { kind } of weeks) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
};

const total = (weeks: readonly WeekInfo[], field: 'leaves' | 'total_bytes'): number =>
  weeks.reduce((sum, week) => sum + week[field], 0);

const readHeld = async (pool: Pool): Promise<ReadonlyMap<string, { held: number; bytes: number }>> => {
  const { rows } = await sql<{ set_name: string; held: number; bytes: number }>`
    select set_name, count(*)::int as held, coalesce(sum(bytes), 0)::bigint as bytes
      from strata.held_partitions where finished_at is null group by set_name`.execute(on(pool));
  return new Map(rows.map((row) => [row.set_name, row]));
};
