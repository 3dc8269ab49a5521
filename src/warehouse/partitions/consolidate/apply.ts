/** Carries out a plan to consolidate, week by week; a week that fails is cleaned up and the others go on. */
import { queryUntil } from '../../../db/cancel.ts';
import { withClient, withTransaction } from '../../../db/pool.ts';
import type { Pool } from '../../../db/query.ts';
import { messageOf, WarehouseError } from '../../../runtime/errors.ts';
import { asMaintainer, type ApplyOptions } from '../apply.ts';
import { refuseStale, type Plan, type Step } from '../plan.ts';
import { readWeeks } from '../weeks.ts';
import { abandon } from './abandon.ts';
import { atOneSnapshot } from './copy.ts';
import { keepPrediction, keepProof, readSwapped, stepOf } from './journal.ts';
import { PATIENCE, runLocked, type Patience } from './ladder.ts';
import { readObstacles, readUnmatched, type Phase } from './plan.ts';
import { prove } from './prove.ts';
import { REPLAY_SETTINGS, replayAll, replayStatements } from './replay.ts';
import { mark } from './statements.ts';
import { waitForSnapshots } from './snapshots.ts';
import { readWeek, type ConsolidationWeek } from './week.ts';

/** What happens meanwhile. */
export type ConsolidateEvent =
  | { readonly kind: 'step'; readonly set: string; readonly week: string; readonly step: string }
  | { readonly kind: 'done'; readonly set: string; readonly week: string; readonly step: string }
  | { readonly kind: 'failed'; readonly set: string; readonly week: string; readonly error: string };

/** How to carry out a plan under writers: when it is stopped, what is not exchanged by then is taken away again. */
export interface OnlineOptions<Event = ConsolidateEvent> extends Partial<ApplyOptions<Event>> {
  readonly patience?: Patience;
}

/** What became of one week. */
export interface ConsolidatedWeek {
  /** Its name before. */
  readonly name: string;
  readonly week: string;
  readonly outcome: 'consolidated' | 'undone' | 'failed';
  readonly error: string | null;
  readonly rows: number | null;
  readonly bytes_before: number | null;
  readonly bytes_after: number | null;
  /** How long the root was locked, milliseconds. */
  readonly root_locked_ms: number | null;
}

/** What became of a plan. */
export interface ConsolidateResult {
  readonly set: string;
  readonly weeks: readonly ConsolidatedWeek[];
}

/** What a phase works with. */
export interface Work {
  readonly pool: Pool;
  readonly week: ConsolidationWeek;
  readonly signal: AbortSignal;
  readonly patience: Patience | undefined;
}

/**
 * Carries out a plan of `planConsolidate`. One maintainer works on a set at a time.
 *
 * @returns what became of each week; a failed one says why
 * @throws WarehouseError `conflict` when somebody else maintains the set, or when it has changed since the plan
 */
export const applyConsolidate = (
  pool: Pool,
  plan: Plan,
  options: OnlineOptions = {},
): Promise<ConsolidateResult> =>
  asMaintainer(pool, plan.set, options.signal, async (signal) => {
    await refuseStale(pool, plan);
    const weeks: ConsolidatedWeek[] = [];
    for (const [start, steps] of Map.groupBy(plan.steps, (step) => step.week ?? '')) {
      if (signal.aborted) break;
      weeks.push(await consolidateWeek(pool, plan.set, start, steps, { ...options, signal }));
    }
    return { set: plan.set, weeks };
  });

const consolidateWeek = async (
  pool: Pool,
  set: string,
  start: string,
  steps: readonly Step[],
  { signal, onEvent, patience }: OnlineOptions & { readonly signal: AbortSignal },
): Promise<ConsolidatedWeek> => {
  const info = (await readWeeks(pool, set)).find(({ lower }) => lower?.toISOString() === start);
  if (info === undefined || info.lower === null || info.upper === null)
    throw new WarehouseError('conflict', `the week of ${start} is gone`, { remedy: 'Plan again.' });
  const week = await readWeek(pool, set, { oid: info.oid, lower: info.lower, upper: info.upper });
  return settle({ pool, week, signal, patience }, onEvent, async () => {
    const [obstacle] = await readObstacles(pool, set, info);
    if (obstacle !== undefined) throw new WarehouseError('conflict', `${info.name}: ${obstacle}`);
    await runSteps({ pool, week, signal, patience }, PHASES, steps, onEvent);
  });
};

/** Runs the statements of one kind of step. */
export type Run = (work: Work, statements: readonly string[]) => Promise<unknown>;

/** Runs the steps of a week, telling of each. */
export const runSteps = async (
  work: Work,
  phases: Readonly<Record<string, Run>>,
  steps: readonly Step[],
  onEvent: OnlineOptions['onEvent'],
): Promise<void> => {
  const { week, signal } = work;
  for (const step of steps) {
    signal.throwIfAborted();
    onEvent?.({ kind: 'step', set: week.set, week: week.start, step: step.name });
    await phases[step.name.split(' ')[0] ?? '']?.(work, step.sql);
    onEvent?.({ kind: 'done', set: week.set, week: week.start, step: step.name });
  }
};

/** Makes of a week's work its outcome; whatever fails before the swap is cleaned up. */
export const settle = async (
  work: Work,
  onEvent: OnlineOptions['onEvent'],
  run: () => Promise<void>,
): Promise<ConsolidatedWeek> => {
  const { pool, week } = work;
  const outcome = { name: week.name, week: week.start };
  try {
    await run();
  } catch (thrown) {
    // Who has lost the lock must leave the rest to whoever takes it.
    if (isLost(work.signal)) throw thrown;
    // The answer to the last commit may be all that was lost.
    if ((await stepOf(pool, week)) !== 'swapped') {
      const error = messageOf(thrown) + (await cleanUp(work, messageOf(thrown)));
      onEvent?.({ kind: 'failed', set: week.set, week: week.start, error });
      return {
        ...outcome,
        outcome: 'failed',
        error,
        rows: null,
        bytes_before: null,
        bytes_after: null,
        root_locked_ms: null,
      };
    }
  }
  return { ...outcome, outcome: 'consolidated', error: null, ...(await readSwapped(pool, week)) };
};

/** Whether the lock that makes us the only maintainer is gone. */
export const isLost = ({ aborted, reason }: AbortSignal): boolean =>
  aborted && reason instanceof WarehouseError && reason.kind === 'connection';

/** Cleans up, or says what recovery will have to do. */
const cleanUp = async ({ pool, week, patience }: Work, error: string): Promise<string> => {
  try {
    await abandon(pool, week, error, patience);
    return '';
  } catch (thrown) {
    return ` (what it had made could not be removed yet: ${messageOf(thrown)}; recovery will)`;
  }
};

const inTransaction = async (pool: Pool, statements: readonly string[]): Promise<void> =>
  withTransaction(pool, async (client) => {
    for (const statement of statements) await client.query(statement);
  });

/** Maintenance memory of a session that builds indexes: the keys of a few million rows are sorted in it, not on disk. */
const INDEX_MEMORY = "set local maintenance_work_mem = '256MB'";

/** Times to vacuum when a snapshot of somebody else keeps pages from being all-visible. */
const FREEZE_ATTEMPTS = 3;

const freeze = async ({ pool, week, signal }: Work, [vacuum = '']: readonly string[]): Promise<void> => {
  for (let attempt = 1; ; attempt++) {
    await withClient(pool, (client) => queryUntil(client, vacuum, signal));
    const { rows } = await pool.query<{ pages: number; visible: number }>(
      'select relpages as pages, relallvisible as visible from pg_class where oid = $1::regclass',
      [week.stage],
    );
    const { pages, visible } = rows[0] ?? { pages: 0, visible: 0 };
    if (pages === visible || attempt === FREEZE_ATTEMPTS) {
      const seen = `, detail = detail || jsonb_build_object('pages', ${pages}, 'visible_pages', ${visible})`;
      await pool.query(mark(week, 'freezing', seen));
      return;
    }
  }
};

/** How each phase runs its statements. */
export const PHASES: Readonly<Record<Phase, Run>> = {
  stage: async ({ pool, week }, statements) => {
    await inTransaction(pool, statements);
    await keepPrediction(pool, week);
  },
  capture: ({ pool, week, signal, patience }, statements) =>
    runLocked(pool, week.set, statements, { signal, ...(patience !== undefined && { patience }) }),
  copy: async ({ pool, signal }, statements) => {
    await atOneSnapshot(pool, statements.slice(0, -1), signal);
    await pool.query(statements.at(-1) ?? '');
  },
  index: async ({ pool, signal }, statements) => {
    // Each commits by itself: what stands need not be built again after a crash.
    for (const statement of statements) {
      await withTransaction(pool, async (client) => {
        await client.query(INDEX_MEMORY);
        await queryUntil(client, statement, signal);
      });
    }
  },
  freeze,
  replay: async ({ pool, signal }, statements) => {
    await replayAll(pool, statements.slice(0, -1), signal);
    await pool.query(statements.at(-1) ?? '');
  },
  prove: async ({ pool, week, signal }, statements) => {
    await keepProof(pool, week, 'forward', await prove(pool, statements, signal));
  },
  swap: async (work, statements) => {
    const { pool, week, signal, patience } = work;
    await buildUnmatched(pool, week);
    await waitForSnapshots(pool, week, (patience ?? PATIENCE).snapshots_ms, signal);
    await catchUp(work);
    await runLocked(pool, week.set, statements, {
      signal,
      settings: REPLAY_SETTINGS,
      between: () => catchUp(work),
      ...(patience !== undefined && { patience }),
    });
  },
};

/** Before each attempt to swap, so that hardly anything is left to be replayed under the lock. */
const catchUp = ({ pool, week, signal }: Work): Promise<number> =>
  replayAll(pool, replayStatements(week.forward, false), signal);

/** An index that the parent got meanwhile would be built by ATTACH, with the root locked. */
const buildUnmatched = async (pool: Pool, week: ConsolidationWeek): Promise<void> => {
  for (const statement of await readUnmatched(pool, week.root, week.stage)) await pool.query(statement);
};
