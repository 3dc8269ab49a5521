/** Weeks that an adopted table needs: those of its rows, the ones between, and those ahead. */
import { sql } from 'kysely';
import { on, type Pool } from '../../../db/query.ts';
import { identifier, literal } from '../../../db/quote.ts';
import { withTransaction } from '../../../db/pool.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import { instantOf, instantText, weekOf, weekStart } from '../../../runtime/instant.ts';
import { runs } from '../ensure.ts';
import type { Adoption } from './adoption.ts';

/** The weeks, as numbers of `weekOf`. */
export interface WeekPlan {
  /** Consecutive ones, [first, last]. */
  readonly runs: readonly (readonly [first: number, last: number])[];
  readonly count: number;
  /** Weeks out of the window that loaders take rows for, each with the rows it holds. */
  readonly outlying: readonly { readonly week: string; readonly rows: number }[];
  /** Rows at infinity, which no week can hold. */
  readonly infinite: number;
}

/** Weeks made ahead of the present one, and what loaders hold for sane; both the defaults of strata.partition_sets. */
const PREMAKE = 4;
const WINDOW_START = new Date('2009-01-01T00:00:00Z');
const WINDOW_AHEAD_MS = 7 * 86_400_000;

/** Weeks of one transaction, so that its locks fit a lock table of the default size. */
const WEEKS_PER_TRANSACTION = 26;

/**
 * The start of the week of each of many rows. strata.week_start is a call per row, ten times as slow; and date_bin is exact
 * only behind its origin, so that is a Sunday before any.
 */
export const weekOfRow = (time: string): string =>
  `date_bin(interval '168 hours', ${time}, timestamptz '0001-01-07 00:00:00+00')`;

/** More than twenty years are a mistake in the data. */
const WEEKS_MAX = 1100;

/**
 * Reads which weeks the rows of a table lie in; reads the whole table.
 *
 * @throws WarehouseError `config` when they are too many to be meant
 */
export const readWeekPlan = async (
  pool: Pool,
  { source, timeName }: Adoption,
  now: Date,
): Promise<WeekPlan> => {
  const time = identifier(timeName);
  const found = await withTransaction(
    pool,
    async (client) => {
      await client.query('set local row_security = off');
      const { rows } = await client.query<{ week: Date | null; rows: number }>(
        `select case when isfinite(${time}) then ${weekOfRow(time)} end as week, count(*) as rows from ${source} group by 1`,
      );
      return rows;
    },
    { readOnly: true },
  );
  const weeks = found.flatMap(({ week, rows }) =>
    week === null ? [] : [{ start: week, number: weekOf(instantOf(week)), rows }],
  );
  const isSane = ({ start }: { readonly start: Date }): boolean =>
    start >= WINDOW_START && start.getTime() <= now.getTime() + WINDOW_AHEAD_MS;
  const present = weekOf(instantOf(now));
  const sane = weeks.filter(isSane).map(({ number }) => number);
  const first = Math.min(present, ...sane);
  const last = Math.max(present + PREMAKE, ...sane);
  const all = new Set([
    ...Array.from({ length: last - first + 1 }, (_unused, n) => first + n),
    ...weeks.map(({ number }) => number),
  ]);
  if (all.size > WEEKS_MAX) {
    throw new WarehouseError(
      'config',
      `the rows of ${source} would take ${all.size} weeks, from ${instantText(weekStart(Math.min(...all)))} on`,
      {
        remedy: `Correct or delete rows whose ${timeName} is not meant; at most ${WEEKS_MAX} weeks are made.`,
      },
    );
  }
  return {
    runs: runs([...all]),
    count: all.size,
    outlying: weeks
      .filter((week) => !isSane(week))
      .toSorted((a, b) => a.number - b.number)
      .map(({ start, rows }) => ({ week: start.toISOString(), rows })),
    infinite: found.find(({ week }) => week === null)?.rows ?? 0,
  };
};

/**
 * The statements that make weeks, one transaction each. strata.ensure_weeks works on a set, so there is one until the end of the
 * transaction: nobody else ever sees a set whose table has not taken its place.
 */
export const weekTransactions = (
  adoption: Adoption,
  weeks: WeekPlan['runs'],
): readonly (readonly string[])[] =>
  weeks
    .flatMap(([first, last]) =>
      Array.from({ length: Math.ceil((last - first + 1) / WEEKS_PER_TRANSACTION) }, (_unused, n) => [
        first + n * WEEKS_PER_TRANSACTION,
        Math.min(last, first + (n + 1) * WEEKS_PER_TRANSACTION - 1),
      ]),
    )
    .map(([first = 0, last = 0]) => [
      ...register(adoption, adoption.root),
      `select count(*) from strata.ensure_weeks(${literal(adoption.set)}, ${literal(instantText(weekStart(first)))}, ${literal(instantText(weekStart(last)))})`,
      `delete from strata.partition_sets where set_name = ${literal(adoption.set)}`,
    ]);

/** Puts the partitioned table under management. */
export const register = (
  { set, timeName, hashName, modulus, fillfactor, hold }: Adoption,
  root: string,
): readonly string[] => [
  `do $$ begin
  if (strata.create_partition_set(${literal(set)}, ${literal(root)}::regclass, ${literal(timeName)}, ${literal(hashName)}, ${modulus})).parent <> ${literal(root)}::regclass then
    raise exception 'there is another set % by now', ${literal(set)} using errcode = 'duplicate_object';
  end if;
end $$`,
  `update strata.partition_sets set leaf_fillfactor = ${fillfactor ?? 'null'}, hold = ${literal(hold)} where set_name = ${literal(set)}`,
];

/** Weeks of the rows of a table, or of the log, that the partitioned table has not; they have the names that strata.create_week gives them. */
const missingWeeks = ({ set, schemaName, timeName }: Adoption, table: string): string =>
  // Materialized, or the name of its week would be worked out for every row.
  `with w as materialized (select distinct ${weekOfRow(`r.${identifier(timeName)}`)} as week from ${table} r)
  select w.week from w where to_regclass(format('%I.%I', ${literal(schemaName)}::text, strata.week_name(${literal(set)}, w.week))) is null`;

/** Makes the weeks that rows of the table, or of the log, lie in by now. */
export const makeMissingWeeks = async (pool: Pool, adoption: Adoption, table: string): Promise<void> => {
  const { rows } = await sql<{ week: Date }>`${sql.raw(missingWeeks(adoption, table))}`.execute(on(pool));
  const weeks = runs(rows.map(({ week }) => weekOf(instantOf(week))));
  for (const statements of weekTransactions(adoption, weeks)) {
    await withTransaction(pool, async (client) => {
      for (const statement of statements) await client.query(statement);
    });
  }
};

/** Lets the swap give up, to be tried again, when a row that was written meanwhile has no week. */
export const refuseMissingWeeks = (adoption: Adoption): string =>
  `do $$ begin
  if exists (${missingWeeks(adoption, adoption.forward.log)}) then
    raise exception 'a week is missing' using errcode = 'lock_not_available';
  end if;
end $$`;
