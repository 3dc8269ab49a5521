/** Maintenance of the managed sets: every verb by the same way, set by set, each run in the journal. */
import { hostname } from 'node:os';
import { asWarehouseError } from '../db/errors.ts';
import { withClient } from '../db/pool.ts';
import type { Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import { instantOf, instantText, weekOf, weekStart } from '../runtime/instant.ts';
import { nearest } from '../runtime/nearest.ts';
import { basisOf, type Plan } from '../warehouse/partitions/plan.ts';
import {
  closeVanished,
  finishRun,
  notePlan,
  openRun,
  readSetNames,
  type AskedBy,
  type RunOutcome,
} from '../warehouse/partitions/runs.ts';
import { stoppable, type StopLimits } from './stoppable.ts';
import { MAINTENANCE_VERBS, type MaintenanceVerb, type PlanOptions, type VerbModule } from './verbs.ts';

/** What happens during maintenance, for progress, logs and metrics. */
export type MaintenanceEvent =
  | { readonly kind: 'planned'; readonly verb: string; readonly set: string; readonly plan: Plan }
  /** What the verb itself tells: steps begun and done, rows copied. */
  | { readonly kind: 'progress'; readonly verb: string; readonly set: string; readonly event: object }
  | { readonly kind: 'ended'; readonly verb: string; readonly set: string; readonly run: SetRun };

/** What became of one set. */
export interface SetRun {
  readonly set: string;
  readonly outcome: RunOutcome;
  /** Its row in strata.maintenance_runs; null when it never began. */
  readonly run_id: number | null;
  /** Null when planning failed. */
  readonly plan: Plan | null;
  /** What the verb returned; null when it threw. */
  readonly result: object | null;
  readonly error: WarehouseError | null;
  readonly seconds: number;
}

/** How to maintain. */
export interface MaintenanceOptions extends PlanOptions {
  readonly pool: Pool;
  readonly verb: MaintenanceVerb;
  /** Default all. */
  readonly sets?: readonly string[];
  readonly signal: AbortSignal;
  /** At most so many weeks of a set in one run; default no limit. For a verb that takes weeks. */
  readonly batch?: number;
  readonly askedBy?: AskedBy;
  /** The due time that is served, for the journal. */
  readonly due?: Date;
  readonly onEvent?: (event: MaintenanceEvent) => void;
  /** What the verbs do; default the project's own. */
  readonly verbs?: Verbs;
  readonly stopLimits?: StopLimits;
}

/** A set of verbs; one that is absent cannot be asked for. */
export type Verbs = Readonly<Partial<Record<MaintenanceVerb, VerbModule>>>;

/** One set's plan, or why there is none. */
export type SetPlan =
  | { readonly set: string; readonly plan: Plan }
  | { readonly set: string; readonly error: WarehouseError };

/** A loader may make a week between plan and apply; beyond that something else is wrong. */
const PLANS_MAX = 3;

/**
 * Plans a verb for some sets, or all, and changes nothing. Every set fails alone.
 *
 * @throws WarehouseError `usage` for a set or a verb that does not exist
 */
export const planMaintenance = async (
  options: Omit<MaintenanceOptions, 'askedBy' | 'due' | 'signal' | 'stopLimits'>,
): Promise<readonly SetPlan[]> => {
  const module = moduleOf(options.verb, options.verbs);
  const plans: SetPlan[] = [];
  for (const set of await chooseSets(options.pool, options.sets)) {
    try {
      plans.push({ set, plan: await planBatch(module, options.pool, set, options) });
    } catch (thrown) {
      plans.push({ set, error: asWarehouseError(thrown) });
    }
  }
  return plans;
};

/**
 * Plans and applies a verb for some sets, or all, one after the other; every set fails alone and every run is recorded in
 * strata.maintenance_runs. When the signal aborts, the step in hand is finished or taken back and what has not begun is left.
 *
 * @throws WarehouseError `usage` for a set or a verb that does not exist; `connection` when there is no database to begin with.
 *   What goes wrong in a set is in its result.
 */
export const runMaintenance = async (options: MaintenanceOptions): Promise<readonly SetRun[]> => {
  const module = moduleOf(options.verb, options.verbs);
  const runs: SetRun[] = [];
  const sets = await chooseSets(options.pool, options.sets);
  await closeVanished(options.pool);
  for (const set of sets) {
    const run = options.signal.aborted ? notBegun(set, options.signal) : await runSet(module, set, options);
    options.onEvent?.({ kind: 'ended', verb: options.verb, set, run });
    runs.push(run);
  }
  return runs;
};

/** Whether something was not done that was asked for: the exit code of a command. */
export const hasFailed = ({ outcome }: SetRun): boolean => outcome === 'failed' || outcome === 'refused';

/** The sets asked for, all of them where none was named. @throws WarehouseError `usage` that suggests the near name */
export const chooseSets = async (pool: Pool, asked: readonly string[] = []): Promise<readonly string[]> => {
  const known = await readSetNames(pool);
  const unknown = asked.find((set) => !known.includes(set));
  if (unknown === undefined) return asked.length === 0 ? known : [...new Set(asked)];
  const near = nearest(unknown, known);
  throw new WarehouseError('usage', `there is no partition set ${unknown}`, {
    remedy:
      near === undefined
        ? `The managed sets are ${known.join(', ')}.`
        : `Did you mean ${near}? The managed sets are ${known.join(', ')}.`,
  });
};

const moduleOf = (verb: MaintenanceVerb, verbs: Verbs = MAINTENANCE_VERBS): VerbModule => {
  const module = verbs[verb];
  if (module !== undefined) return module;
  throw new WarehouseError('usage', `${verb} is not among the verbs of this registry`, {
    remedy: `It has ${Object.keys(verbs).join(', ')}.`,
  });
};

/** Plans at most a batch of weeks: where the verb finds more, the first of them are asked for by name. */
const planBatch = async (
  module: VerbModule,
  pool: Pool,
  set: string,
  { now, weeks, batch = Infinity }: Pick<MaintenanceOptions, 'now' | 'weeks' | 'batch'>,
): Promise<Plan> => {
  const asked = weeks?.map(weekStartOf);
  const plan = await module.plan(pool, set, { now, ...(asked && { weeks: asked }) });
  const found = [...new Set(plan.steps.flatMap(({ week }) => week ?? []))];
  if (found.length <= batch) return plan;
  const first = found.slice(0, batch).map((week) => new Date(week));
  const cut = await module.plan(pool, set, { now, weeks: first });
  return { ...cut, notes: [...cut.notes, `${found.length - batch} more weeks are left for the next run`] };
};

/** The start of the week that holds an instant. */
export const weekStartOf = (instant: Date): Date =>
  new Date(instantText(weekStart(weekOf(instantOf(instant)))));

/** One set from plan to journal; never throws. */
const runSet = (module: VerbModule, set: string, options: MaintenanceOptions): Promise<SetRun> =>
  recordRun(set, options, options.verb, {
    plan: (pool) => planBatch(module, pool, set, options),
    apply: module.apply,
    recover: module.recover,
    failure: (result) => module.failure?.(result) ?? null,
  });

/** Plan and apply of one run, the set and its options filled in. */
interface Work {
  readonly plan: (pool: Pool) => Promise<Plan>;
  readonly apply: VerbModule['apply'];
  readonly recover?: VerbModule['recover'] | undefined;
  readonly failure: (result: object) => string | null;
}

/** What a run takes of the options. */
export type RunOptions = Pick<
  MaintenanceOptions,
  'pool' | 'signal' | 'askedBy' | 'due' | 'onEvent' | 'stopLimits' | 'weeks'
>;

/** Runs one plan and its apply as one run of the journal; never throws. */
export const recordRun = async (
  set: string,
  options: RunOptions,
  verb: string,
  work: Work,
): Promise<SetRun> => {
  const { pool, askedBy = 'library', due, weeks } = options;
  const began = performance.now();
  let runId: number | null = null;
  let plan: Plan | null = null;
  const attempt = (): Promise<object | null> =>
    // The session of the journal's row lives as long as the run: whether it is there tells the next one whether we are.
    withClient(pool, async (client) => {
      runId = await openRun(client, {
        set,
        verb,
        askedBy,
        host: hostname(),
        detail: { ...(due && { due: due.toISOString() }), ...(weeks && { narrowed: true as const }) },
      });
      return stoppable(pool, options.signal, options.stopLimits, (view) =>
        planAndApply(view, set, verb, work, options, async (made) => {
          plan = made;
          await notePlan(pool, runId!, made);
        }),
      );
    });
  const end = await attempt().then(
    (result): Pick<SetRun, 'outcome' | 'result' | 'error'> =>
      result === null
        ? { outcome: 'nothing', result: null, error: null }
        : judge(result, work, options.signal),
    (thrown: unknown) => {
      const error = asWarehouseError(thrown);
      return { outcome: outcomeOf(error, options.signal), result: null, error };
    },
  );
  const run: SetRun = { set, run_id: runId, plan, ...end, seconds: (performance.now() - began) / 1000 };
  return { ...run, ...(await journal(pool, run)) };
};

/** Plans until the plan still holds when it is applied; null when there was nothing to do. */
const planAndApply = async (
  pool: Pool,
  set: string,
  verb: string,
  work: Work,
  { signal, onEvent }: RunOptions,
  note: (plan: Plan) => Promise<void>,
): Promise<object | null> => {
  const tell = (event: object): void => onEvent?.({ kind: 'progress', verb, set, event });
  await work.recover?.(pool, set, { signal, onEvent: tell });
  for (let attempt = 1; ; attempt++) {
    const plan = await work.plan(pool);
    await note(plan);
    onEvent?.({ kind: 'planned', verb, set, plan });
    if (plan.steps.length === 0) return null;
    if (signal.aborted) throw stopped('before its first step', signal);
    try {
      return await work.apply(pool, plan, { signal, onEvent: tell });
    } catch (thrown) {
      const refused = thrown instanceof WarehouseError && thrown.kind === 'conflict';
      if (!refused || attempt === PLANS_MAX || signal.aborted) throw thrown;
      // Only a plan that reality has left behind is made anew; another maintainer is not waited for.
      if ((await basisOf(pool, set)) === plan.basis) throw thrown;
    }
  }
};

const judge = (
  result: object,
  { failure }: Work,
  signal: AbortSignal,
): Pick<SetRun, 'outcome' | 'result' | 'error'> => {
  // A verb may return early when it is asked to stop; what it had done by then is in its result.
  if (signal.aborted) return { outcome: 'stopped', result, error: null };
  const message = failure(result);
  return message === null
    ? { outcome: 'done', result, error: null }
    : { outcome: 'failed', result, error: new WarehouseError('database', message) };
};

const outcomeOf = (error: WarehouseError, signal: AbortSignal): RunOutcome => {
  // A connection that broke, or a statement that was cancelled, after we were asked to stop is the stop.
  if (signal.aborted && ['cancelled', 'connection'].includes(error.kind)) return 'stopped';
  return error.kind === 'conflict' ? 'refused' : 'failed';
};

/** Ends the run in the journal; a run that could not be recorded has failed, whatever else became of it. */
const journal = async (pool: Pool, run: SetRun): Promise<Pick<SetRun, 'outcome' | 'error'> | undefined> => {
  if (run.run_id === null) return undefined;
  const { error } = run;
  try {
    await finishRun(pool, run.run_id, {
      outcome: run.outcome,
      error: error?.message ?? null,
      detail: {
        ...(run.result !== null && { result: run.result }),
        ...(error !== null && { kind: error.kind, ...error.detail }),
      },
    });
    return undefined;
  } catch (thrown) {
    return {
      outcome: run.outcome === 'stopped' ? 'stopped' : 'failed',
      error: error ?? asWarehouseError(thrown),
    };
  }
};

const notBegun = (set: string, signal: AbortSignal): SetRun => ({
  set,
  outcome: 'stopped',
  run_id: null,
  plan: null,
  result: null,
  error: stopped('before it began', signal),
  seconds: 0,
});

const stopped = (when: string, signal: AbortSignal): WarehouseError =>
  new WarehouseError('cancelled', `stopped ${when}`, {}, signal.reason);
