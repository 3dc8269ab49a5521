/** The verb `ensure`: makes the weeks that are not there yet, from the present one to `premake` ahead, or those asked for. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { instantOf, instantText, weekOf, weekStart } from '../../runtime/instant.ts';
import { asMaintainer, eachStep, type ApplyOptions } from './apply.ts';
import { runs } from './ensure.ts';
import { basisOf, refuseStale, unknownSet, type Plan, type Step, type StepLock } from './plan.ts';
import { readWeeks, type WeekInfo } from './weeks.ts';

/** What to make sure of. */
export interface EnsureOptions {
  /** The present instant. */
  readonly now: Date;
  /** Instants whose weeks are wanted; default the present week and `premake` more. */
  readonly weeks?: readonly Date[];
}

/** What was made. */
export interface Ensured {
  readonly set: string;
  /** Starts of the weeks that were made, in ISO. */
  readonly created: readonly string[];
}

/** As many weeks as one call of strata.ensure_weeks() takes: ten years. */
const WEEKS_MAX = 523;

/** Longest wait for the root's lock, or for another maker of the same week; neither holds up a reader or a writer. */
const LOCK_WAIT_MS = 30_000;

interface Policy {
  readonly parent: string;
  readonly premake: number;
  readonly modulus: number;
  readonly layout: string;
  readonly hash_column: string;
}

/**
 * Plans the weeks of a set that are missing, a step and a transaction for each. Gaps elsewhere are noted, not filled.
 *
 * @throws WarehouseError `config` when there is no such set, `usage` for more than ten years of weeks, `conflict` when something
 *   stands in the way: a DEFAULT partition with rows, a table that has a week's name already
 */
export const planEnsure = async (pool: Pool, set: string, options: EnsureOptions): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  const policy = await policyOf(pool, set);
  const partitions = await readWeeks(pool, set);
  const wanted = wantedWeeks(policy.premake, options);
  const cover = judgeWeeks(partitions, wanted);
  if (cover.missing.length > 0) await refuseTakenNames(pool, set, cover.missing);
  const locks: readonly StepLock[] =
    cover.missing.length === 0
      ? []
      : [
          { relation: policy.parent, mode: 'SHARE UPDATE EXCLUSIVE', held: 'moment' },
          ...(await locksOnDefault(pool, set, partitions)),
        ];
  return {
    verb: 'ensure',
    set,
    basis,
    steps: cover.missing.map((week) => createStep(set, week, policy, locks)),
    notes: [...cover.notes, ...gapNotes(partitions, wanted)],
  };
};

/**
 * Makes the weeks of the plan, each in a transaction of its own, so that the lock of an ATTACH lasts a moment.
 *
 * @throws WarehouseError `conflict` when another maintainer is at work or the plan is out of date, `cancelled` when stopped
 *   between two weeks: those made stay
 */
export const applyEnsure = (pool: Pool, plan: Plan, options: ApplyOptions): Promise<Ensured> =>
  asMaintainer(pool, plan.set, options.signal, async (signal, client) => {
    await refuseStale(client, plan);
    const created: string[] = [];
    await eachStep(plan.steps, { ...options, signal }, async (step) => {
      await inTransaction(client, step.sql);
      if (step.week !== null) created.push(step.week);
    });
    return { set: plan.set, created };
  });

/** On the connection that holds the maintainer's lock: lost together, or not at all. */
const inTransaction = async (client: Client, statements: readonly string[]): Promise<void> => {
  await client.query('begin');
  try {
    await client.query(`set local lock_timeout = ${LOCK_WAIT_MS}`);
    for (const statement of statements) await client.query(statement);
    await client.query('commit');
  } catch (thrown) {
    await client.query('rollback').catch(() => undefined);
    throw thrown;
  }
};

const policyOf = async (pool: Pool, set: string): Promise<Policy> => {
  const { rows } = await sql<Policy>`
    select s.premake, s.modulus, s.layout, s.hash_column, format('%I.%I', n.nspname, c.relname) as parent
      from strata.partition_sets s
      join pg_class c on c.oid = s.parent
      join pg_namespace n on n.oid = c.relnamespace
     where s.set_name = ${set}`.execute(on(pool));
  const [row] = rows;
  if (row === undefined) throw unknownSet(set);
  return row;
};

const wantedWeeks = (premake: number, { now, weeks }: EnsureOptions): number[] => {
  const present = weekOf(instantOf(now));
  const wanted =
    weeks === undefined
      ? Array.from({ length: premake + 1 }, (_unused, ahead) => present + ahead)
      : [...new Set(weeks.map((week) => weekOf(instantOf(week))))].toSorted((a, b) => a - b);
  if (wanted.length <= WEEKS_MAX) return wanted;
  throw new WarehouseError('usage', `${wanted.length} weeks are too many to make at once`, {
    remedy: `Ask for at most ${WEEKS_MAX} weeks, which are ten years.`,
  });
};

const dayOf = (week: number): string => instantText(weekStart(week)).slice(0, 10);

const isoOf = (week: number): string => `${instantText(weekStart(week)).slice(0, 19)}Z`;

const createStep = (set: string, week: number, policy: Policy, locks: readonly StepLock[]): Step => ({
  name: `create ${set}_${dayOf(week).replaceAll('-', '_')}`,
  week: isoOf(week),
  sql: [
    `select * from strata.ensure_weeks('${set.replaceAll("'", "''")}', '${isoOf(week)}', '${isoOf(week)}')`,
  ],
  locks,
  rows: null,
  bytes: null,
  why:
    policy.layout === 'list'
      ? `the week does not exist; made beside the table by groups of ${policy.hash_column}, attached without a scan`
      : `the week does not exist; made beside the table with ${policy.modulus} hash partitions of ${policy.hash_column}, attached without a scan`,
});

/** ATTACH locks and scans a DEFAULT partition: an empty one for a moment, one with rows for as long as that takes. */
const locksOnDefault = async (
  pool: Pool,
  set: string,
  partitions: readonly WeekInfo[],
): Promise<StepLock[]> => {
  const found = partitions.find((partition) => partition.kind === 'default');
  if (found === undefined) return [];
  const { rows } = await sql<{ empty: boolean }>`
    select sum(pg_relation_size(t.relid)) = 0 as empty from pg_partition_tree(${found.oid}::oid::regclass) t where t.isleaf`.execute(
    on(pool),
  );
  if (rows[0]?.empty === true)
    return [{ relation: found.qualified, mode: 'ACCESS EXCLUSIVE', held: 'moment' }];
  throw new WarehouseError(
    'conflict',
    `${set} has a DEFAULT partition, ${found.qualified}, with rows: each new week would lock and scan it, and its rows may belong there`,
    {
      remedy: `Detach it (alter table … detach partition ${found.qualified}), insert its rows into the set again, and drop it; the loader makes the weeks it needs.`,
    },
  );
};

/** A left-over table with a week's name would fail its step half-way through the plan; better said before. */
const refuseTakenNames = async (pool: Pool, set: string, missing: readonly number[]): Promise<void> => {
  const { rows } = await sql<{ taken: string }>`
    select format('%I.%I', n.nspname, t.relname) as taken
      from strata.partition_sets s
      join pg_class root on root.oid = s.parent
      join pg_namespace n on n.oid = root.relnamespace
      join pg_class t on t.relnamespace = n.oid
       and t.relname = any (select strata.week_name(s.set_name, week) from unnest(${missing.map(isoOf)}::timestamptz[]) week)
     where s.set_name = ${set} order by 1`.execute(on(pool));
  if (rows.length === 0) return;
  throw new WarehouseError(
    'conflict',
    `${rows.map((row) => row.taken).join(', ')} has the name of a missing week of ${set} but is no partition of it`,
    { remedy: 'Attach it, rename it, or drop it; then plan again.' },
  );
};

/** A partition's extent; null is without end. */
export type Extent = Pick<WeekInfo, 'qualified' | 'lower' | 'upper' | 'kind' | 'detach_pending'>;

/** Which of the wanted weeks nothing covers, and what to say of those that something covers in part. */
export const judgeWeeks = (
  partitions: readonly Extent[],
  wanted: readonly number[],
): { readonly missing: readonly number[]; readonly notes: readonly string[] } => {
  const missing: number[] = [];
  const notes: string[] = [];
  for (const week of wanted) {
    const [start, end] = [dateOf(week), dateOf(week + 1)];
    const over = partitions.filter(
      (one) => one.kind !== 'default' && (one.lower ?? start) < end && (one.upper ?? end) > start,
    );
    const pending = over.find((one) => one.detach_pending);
    const inTheWay = over.map((one) => one.qualified).join(', ');
    if (pending !== undefined) {
      notes.push(
        `week ${dayOf(week)} is left alone: the detach of ${pending.qualified} was interrupted; \`pgstrata maintain retain\` finishes it`,
      );
    } else if (over.length === 0) missing.push(week);
    else if (!covers(over, start, end)) {
      notes.push(
        `week ${dayOf(week)} is covered in part only, by ${inTheWay}: rows outside of that are refused; give the partition whole weeks (Sunday to Sunday, UTC)`,
      );
    }
  }
  return { missing, notes };
};

const dateOf = (week: number): Date => new Date(isoOf(week));

const covers = (over: readonly Extent[], start: Date, end: Date): boolean => {
  let until = start;
  for (const one of over.toSorted(
    (a, b) => (a.lower?.getTime() ?? -Infinity) - (b.lower?.getTime() ?? -Infinity),
  )) {
    if ((one.lower ?? until) > until) return false;
    if (one.upper === null) return true;
    if (one.upper > until) until = one.upper;
  }
  return until >= end;
};

/** The stretches between the first and the last week where nothing is; those asked for are made, so not noted. */
const gapNotes = (partitions: readonly WeekInfo[], wanted: readonly number[]): string[] => {
  const starts = partitions.flatMap(({ lower }) => (lower === null ? [] : [weekOf(instantOf(lower))]));
  if (starts.length === 0) return [];
  const [first, last] = [Math.min(...starts), Math.max(...starts)];
  if (last - first > 100 * WEEKS_MAX) return []; // an odd partition in another millennium
  const between = Array.from({ length: last - first }, (_unused, index) => first + index);
  const { missing } = judgeWeeks(partitions, between);
  const asked = new Set(wanted);
  return runs(missing.filter((week) => !asked.has(week))).map(
    ([from, to]) =>
      `no week from ${dayOf(from)} to ${dayOf(to + 1)}: rows for it make it when they come; or give --from ${dayOf(from)} --to ${dayOf(to)}`,
  );
};
