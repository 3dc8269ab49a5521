/**
 * Undoes consolidations while the old week is held: what was written since the swap is replayed into it, the copy is proven, and
 * the tables change places again.
 */
import { sql } from 'kysely';
import { withTransaction } from '../../../db/pool.ts';
import { on, type Pool } from '../../../db/query.ts';
import { identifier } from '../../../db/quote.ts';
import { messageOf } from '../../../runtime/errors.ts';
import { basisOf, momentary, plainStep, refuseStale, type Plan, type Step, type StepLock } from '../plan.ts';
import { asMaintainer } from '../apply.ts';
import {
  isLost,
  runSteps,
  type OnlineOptions,
  type ConsolidatedWeek,
  type ConsolidateResult,
  type Run,
} from './apply.ts';
import { keepProof, noteError, readOpen, stepOf, type OpenConsolidation } from './journal.ts';
import { PATIENCE, runLocked } from './ladder.ts';
import { proofStatements, prove } from './prove.ts';
import { REPLAY_SETTINGS, replayAll, replayStatements } from './replay.ts';
import { COPIED_AT, dropUndone, mark, swapBackStatements } from './statements.ts';
import { waitForSnapshots } from './snapshots.ts';
import { HELD_SCHEMA, readWeek, type ConsolidationWeek } from './week.ts';

/**
 * Plans to put held weeks back in place of the tables that were made of them.
 *
 * @param options.weeks starts of weeks; absent: all whose old week is still held
 * @throws WarehouseError `config` when there is no such set
 */
export const planUndoConsolidation = async (
  pool: Pool,
  set: string,
  { weeks }: { readonly weeks?: readonly Date[] } = {},
): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  const open = await readOpen(pool, set);
  const notes = (weeks ?? [])
    .filter((start) => !open.some(({ lower }) => lower.getTime() === start.getTime()))
    .map((start) => `There is no consolidation to undo for the week of ${start.toISOString()}.`);
  const steps: Step[] = [];
  for (const one of open) {
    if (weeks !== undefined && !weeks.some((start) => start.getTime() === one.lower.getTime())) continue;
    const week = await readWeek(pool, set, one);
    const obstacle = await readObstacle(pool, one, week);
    if (obstacle !== null) notes.push(`${one.name} cannot be put back: ${obstacle}`);
    else steps.push(...undoSteps(week, await readMissing(pool, week)));
  }
  return { verb: 'undo', set, basis, steps, notes };
};

/**
 * Carries out a plan of `planUndoConsolidation`. A week that fails stays consolidated, and can be tried again.
 *
 * @throws WarehouseError `conflict` when somebody else maintains the set, or when it has changed since the plan
 */
export const applyUndoConsolidation = (
  pool: Pool,
  plan: Plan,
  options: OnlineOptions = {},
): Promise<ConsolidateResult> =>
  asMaintainer(pool, plan.set, options.signal, async (signal) => {
    await refuseStale(pool, plan);
    const open = await readOpen(pool, plan.set);
    const weeks: ConsolidatedWeek[] = [];
    for (const [start, steps] of Map.groupBy(plan.steps, (step) => step.week)) {
      if (signal.aborted) break;
      const one = open.find(({ lower }) => lower.toISOString() === start);
      if (one !== undefined) weeks.push(await undoWeek(pool, plan.set, one, steps, { ...options, signal }));
    }
    return { set: plan.set, weeks };
  });

/** Runs the steps of one week. */
export const undoWeek = async (
  pool: Pool,
  set: string,
  one: OpenConsolidation,
  steps: readonly Step[],
  { signal, onEvent, patience }: OnlineOptions & { readonly signal: AbortSignal },
): Promise<ConsolidatedWeek> => {
  const week = await readWeek(pool, set, one);
  const undone: ConsolidatedWeek = {
    name: one.name,
    week: week.start,
    outcome: 'undone',
    error: null,
    rows: null,
    bytes_before: null,
    bytes_after: null,
    root_locked_ms: null,
  };
  try {
    await runSteps({ pool, week, signal, patience }, PHASES, steps, onEvent);
  } catch (thrown) {
    if (isLost(signal)) throw thrown;
    // With its journal row closed it is undone: recovery drops what could not be dropped.
    if ((await stepOf(pool, week)) === null) return undone;
    const error = messageOf(thrown);
    // Nothing of it needs to be taken back: the old week is only nearer to the present than it was.
    await pool.query(mark(week, 'swapped'));
    await noteError(pool, week, error);
    onEvent?.({ kind: 'failed', set, week: week.start, error });
    return { ...undone, outcome: 'failed', error };
  }
  return undone;
};

/** Why a consolidation cannot be undone; null when it can. */
const readObstacle = async (
  pool: Pool,
  one: OpenConsolidation,
  week: ConsolidationWeek,
): Promise<string | null> => {
  if (one.step !== 'swapped' && one.step !== 'undoing')
    return `it stopped behind "${one.step}"; recover first.`;
  if (one.drop_after === null) return 'its old partitions are not held any more.';
  if (one.way === 'transaction')
    return 'it was consolidated from SQL, which keeps no track of what was written since.';
  const { rows } = await sql<{ obstacle: string }>`
    with now as (select a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull from pg_attribute a
                  where a.attrelid = ${week.root}::regclass and a.attnum > 0 and not a.attisdropped),
         held as (select a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull from pg_attribute a
                   where a.attrelid = ${one.oid}::oid and a.attnum > 0 and not a.attisdropped)
    select 'the columns of the table have changed since.' as obstacle
     where exists (table now except table held) or exists (table held except table now)
    union all
    select 'its table is not attached any more.'
     where not exists (select from pg_inherits i where i.inhrelid = to_regclass(${week.stage}) and i.inhparent = ${week.root}::regclass)
    union all
    select format('there is another %s by now.', c.oid::regclass)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = ${week.schema} and c.relname in (select h.relname from pg_class h where h.oid = ${one.oid}::oid
        or h.oid in (select i.inhrelid from pg_inherits i where i.inhparent = ${one.oid}::oid))`.execute(
    on(pool),
  );
  return rows[0]?.obstacle ?? null;
};

/** What the held week lacks for an attach that neither scans nor builds: the check of its bounds, new indexes. */
export const readMissing = async (pool: Pool, week: ConsolidationWeek): Promise<readonly string[]> => {
  const held = week.backward.target;
  const bounds = `${week.name}_bounds`;
  const { rows } = await sql<{ statement: string }>`
    select statement from strata.unmatched_indexes(${week.root}::regclass, ${held}::regclass) statement
    union all
    select ${`alter table ${held} add constraint ${identifier(bounds)} check (${week.timeColumn} >= ${week.lower} and ${week.timeColumn} < ${week.upper})`}
     where not exists (select from pg_constraint k where k.conrelid = ${held}::regclass and k.conname = ${bounds} and k.convalidated)`.execute(
    on(pool),
  );
  return rows.map(({ statement }) => statement);
};

type Phase = 'reopen' | 'replay' | 'prove' | 'swap' | 'drop';

/** The steps for one week. */
export const undoSteps = (week: ConsolidationWeek, missing: readonly string[]): readonly Step[] => {
  const { backward, stage, stageName, root, name } = week;
  const step = (phase: Phase, statements: readonly string[], locks: readonly StepLock[], why: string): Step =>
    plainStep({
      name: `${phase} ${phase === 'drop' ? stageName : name}`,
      week: week.start,
      sql: statements,
      locks,
      why,
    });
  const reads = [momentary(stage, 'ACCESS SHARE')];
  return [
    step(
      'reopen',
      [mark(week, 'undoing'), ...missing],
      [],
      'The old week gets what the parent has got meanwhile.',
    ),
    step(
      'replay',
      [...replayStatements(backward, true), mark(week, 'undoing', COPIED_AT)],
      reads,
      'Brings over what was written since the swap, a transaction per round, until hardly anything is left.',
    ),
    step(
      'prove',
      proofStatements(backward),
      reads,
      'Counts and order-independent hashes of both sides at one snapshot.',
    ),
    step(
      'swap',
      swapBackStatements(week),
      [momentary(root, 'ACCESS EXCLUSIVE'), momentary(stage, 'ACCESS EXCLUSIVE')],
      'One short transaction, behind the gate that loads share: replays the rest and exchanges the tables.',
    ),
    step(
      'drop',
      dropUndone(week),
      [momentary(`${identifier(HELD_SCHEMA)}.${identifier(stageName)}`, 'ACCESS EXCLUSIVE')],
      'The consolidated table is proven to hold nothing else.',
    ),
  ];
};

const PHASES: Readonly<Record<Phase, Run>> = {
  reopen: async ({ pool }, statements) => {
    for (const statement of statements) await pool.query(statement);
  },
  replay: async ({ pool, signal }, statements) => {
    await replayAll(pool, statements.slice(0, -1), signal);
    await pool.query(statements.at(-1) ?? '');
  },
  prove: async ({ pool, week, signal }, statements) => {
    await keepProof(pool, week, 'backward', await prove(pool, statements, signal));
  },
  swap: async ({ pool, week, signal, patience }, statements) => {
    await waitForSnapshots(pool, week, (patience ?? PATIENCE).snapshots_ms, signal);
    const catchUp = (): Promise<number> => replayAll(pool, replayStatements(week.backward, true), signal);
    await catchUp();
    await runLocked(pool, week.set, statements, {
      signal,
      settings: REPLAY_SETTINGS,
      between: catchUp,
      ...(patience !== undefined && { patience }),
    });
  },
  drop: ({ pool }, statements) =>
    withTransaction(pool, async (client) => {
      for (const statement of statements) await client.query(statement);
    }),
};
