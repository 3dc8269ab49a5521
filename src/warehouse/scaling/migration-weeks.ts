/** The part of the migration that copies weeks: closed ones while loading goes on, open ones while it is paused. */
import type { SetFacts } from './facts.ts';
import { literal } from '../../db/quote.ts';
import { NOTHING, pipe, psql, WEEK, type MigrationStep } from './migration-step.ts';

/** Weeks that have ended, in the order of time; the others are copied while loading is paused. */
export const closedWeeks = (set: SetFacts, now: Date): string[] =>
  filled(set)
    .filter(({ upper }) => upper <= now)
    .map(({ lower }) => dayOf(lower));

/** Those that have not. */
export const openWeeks = (set: SetFacts, now: Date): string[] =>
  filled(set)
    .filter(({ upper }) => upper > now)
    .map(({ lower }) => dayOf(lower));

/** Weeks with rows. */
export const filled = (set: SetFacts): SetFacts['weeks'] =>
  set.weeks
    .filter(({ heap_bytes }) => heap_bytes > 0)
    .toSorted((a, b) => a.lower.getTime() - b.lower.getTime());
const dayOf = (lower: Date): string => lower.toISOString().slice(0, 10);

/** Makes the weeks that will be filled. */
export const ensureStep = (set: SetFacts): MigrationStep => {
  const weeks = filled(set);
  const [first, last] = [weeks[0]!, weeks.at(-1)!];
  return {
    title: `make the weeks of ${set.name}`,
    where: 'cluster',
    run: [
      `select count(*) from strata.ensure_weeks(${literal(set.name)}, '${dayOf(first.lower)} 00:00+00', '${dayOf(last.lower)} 00:00+00')`,
    ],
    locks: NOTHING,
    loading: 'goes on',
    verify: {
      run: [`select count(*) from strata.week_info(${literal(set.name)})`],
      expect: `${weeks.length} or more`,
    },
  };
};

const inWeek = (set: SetFacts): string =>
  `${set.time_column} >= '${WEEK} 00:00+00' and ${set.time_column} < timestamptz '${WEEK} 00:00+00' + interval '168 hours'`;

/** A week in the place of what is there of it: what was cut off can be run again. */
const copyWeek = (set: SetFacts): string[] => {
  const columns = set.columns.join(', ');
  return [
    psql('CLUSTER', `delete from ${set.qualified} where ${inWeek(set)}`),
    pipe(`select ${columns} from ${set.qualified} where ${inWeek(set)}`, `${set.qualified} (${columns})`),
  ];
};

const inLoop = (weeks: readonly string[], body: readonly string[]): string[] => [
  `for week in ${weeks.join(' ')}; do`,
  ...body.map((line) => `  ${line}`),
  'done',
];

/** Copies weeks that have ended. */
export const copyClosed = (set: SetFacts, weeks: readonly string[]): MigrationStep => ({
  title: `copy the ${weeks.length} closed weeks of ${set.name}, the oldest first`,
  where: 'shell',
  run: inLoop(weeks, copyWeek(set)),
  locks: 'ACCESS SHARE on one week at a time: loading goes on; maintenance that swaps that week waits',
  loading: 'goes on',
  verify: {
    run: [digestOf(set)],
    expect: 'the same on both sides, but for weeks that rows have come late for since',
  },
});

/** Rows and an order-independent hash of their content for each week, by a query that runs inside the shards. */
export const digestOf = (set: SetFacts): string => {
  const texts = set.columns.map((column) =>
    column === set.hash_column && set.hashes_bytes
      ? `encode(${column}, 'hex')`
      : column === set.time_column
        ? `extract(epoch from ${column})`
        : column,
  );
  // Quoted, so that no two rows read the same: a null is not 'NULL', and no value holds the separator.
  const written = texts.map((text) => `quote_nullable(${text})`).join(', ');
  return `select date_bin('168 hours', ${set.time_column}, '2000-01-02 00:00+00') as week, count(*), sum(hashtextextended(concat_ws('|', ${written}), 0)::numeric) from ${set.qualified} group by 1 order by 1`;
};

/** Copies the others, and again what has changed since. */
export const recopySteps = (set: SetFacts, open: readonly string[]): MigrationStep[] => [
  {
    title: `copy the weeks of ${set.name} that are open, and those that differ`,
    where: 'shell',
    run: inLoop([...open, 'WEEKS_THAT_DIFFER'], copyWeek(set)),
    locks: 'ACCESS SHARE on the source; readers go on',
    loading: 'paused',
    verify: { run: [digestOf(set)], expect: 'the same on both sides, every week' },
  },
];
