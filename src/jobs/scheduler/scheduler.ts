/**
 * Runs maintenance when it is due, for ever: one leader among any number of processes, one job at a time. What is due is
 * read from the journal, so a run that was missed, stopped or left by a dead process is made up for, and none is made twice.
 */
import type { Pool } from '../../db/query.ts';
import { asWarehouseError } from '../../db/errors.ts';
import type { WarehouseError } from '../../runtime/errors.ts';
import { closeVanished, dueSets, fillConsolidateAfter } from '../../warehouse/partitions/runs.ts';
import { runMaintenance, type MaintenanceEvent, type Verbs } from '../maintenance.ts';
import type { StopLimits } from '../stoppable.ts';
import { MAINTENANCE_VERBS, VERB_NAMES, type MaintenanceVerb } from '../verbs.ts';
import { createBell, type Bell } from './bell.ts';
import { systemClock, type CallOff, type Clock } from './clock.ts';
import { previousDue } from './cron.ts';
import { leadIfFree } from './leader.ts';
import type { Schedule } from './settings.ts';

/** What happens to the scheduler, for logs and metrics; what maintenance tells is among it. */
export type SchedulerEvent =
  | { readonly kind: 'waiting' }
  | { readonly kind: 'leading'; readonly verbs: readonly MaintenanceVerb[] }
  /** Leadership is given up, or there is no database: it is tried again. */
  | { readonly kind: 'lost'; readonly error: WarehouseError }
  /** A due time came while its job was running. */
  | { readonly kind: 'overlap'; readonly verb: MaintenanceVerb }
  /** Sets that were given the threshold of the configuration. */
  | { readonly kind: 'filled'; readonly sets: readonly string[] }
  | {
      readonly kind: 'due';
      readonly verb: MaintenanceVerb;
      readonly due: Date;
      readonly sets: readonly string[];
    }
  | MaintenanceEvent;

/** How to schedule. */
export interface SchedulerOptions {
  /** For three connections at least: the leader's, the journal's, the job's. */
  readonly pool: Pool;
  readonly schedule: Schedule;
  /** Ends it: the step in hand is finished or taken back, within ten seconds. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: SchedulerEvent) => void;
  /** Sets that are never to be given a threshold. */
  readonly neverConsolidate?: readonly string[];
  readonly verbs?: Verbs;
  readonly clock?: Clock;
  /** From 0 up to 1. */
  readonly random?: () => number;
  readonly stopLimits?: StopLimits;
}

/** What a scheduler did until it was stopped. */
export interface SchedulerResult {
  readonly runs: number;
  /** Runs that failed or were refused. */
  readonly failed: number;
}

/** A running scheduler. */
export interface Scheduler {
  /** Resolves when it was stopped; rejects when the database refuses it for good (rights, schema). */
  readonly done: Promise<SchedulerResult>;
}

/** A run that was refused, or whose process vanished, is tried again so often for one due time. */
const ATTEMPTS_MAX = 3;

/** … and not sooner than after this. */
const AGAIN_AFTER_MS = 60_000;

/** Starts scheduling; stop it by its signal, then wait for `done`. */
export const startScheduler = (options: SchedulerOptions): Scheduler => ({ done: serve(options) });

const serve = async (options: SchedulerOptions): Promise<SchedulerResult> => {
  const { pool, schedule, signal, onEvent, clock = systemClock } = options;
  const tally = { runs: 0, failed: 0 };
  const bell = createBell(signal);
  let saidWaiting = false;
  while (!signal.aborted) {
    const term = await leadIfFree({ pool, clock, heartbeat_ms: schedule.poll_ms, signal }, (leading) =>
      serveTerm(options, leading, tally),
    );
    if (term.kind === 'waiting' && !saidWaiting) onEvent({ kind: 'waiting' });
    saidWaiting = term.kind === 'waiting';
    if (term.kind === 'unreachable') onEvent({ kind: 'lost', error: term.error });
    if (term.kind === 'led' && term.lost !== null) onEvent({ kind: 'lost', error: term.lost });
    if (!signal.aborted) await bell.restUpTo(schedule.poll_ms, clock);
  }
  bell.forget();
  return tally;
};

/** As leader: a round whenever a due time comes, and at every poll in case one was missed. */
const serveTerm = async (
  options: SchedulerOptions,
  signal: AbortSignal,
  tally: { runs: number; failed: number },
): Promise<void> => {
  const { pool, schedule, onEvent, verbs = MAINTENANCE_VERBS, clock = systemClock } = options;
  const bell = createBell(signal);
  const active = VERB_NAMES.filter((verb) => schedule.verbs[verb].enabled && verbs[verb] !== undefined);
  const term: TermState = {
    running: null,
    againAt: new Map(),
    lag: new Map(active.map((verb) => [verb, (options.random ?? Math.random)() * schedule.jitter_ms])),
  };
  onEvent({ kind: 'leading', verbs: active });
  await fillThresholds(options);
  const callOffs = active.map((verb) => ringWhenDue(verb, term, options, bell));
  try {
    while (!signal.aborted) {
      await closeVanished(pool);
      for (const verb of active) await runIfDue(verb, term, options, signal, tally);
      await bell.restUpTo(schedule.poll_ms, clock);
    }
  } finally {
    for (const callOff of callOffs) callOff();
    bell.forget();
  }
};

/** What a leader remembers beside the journal. */
interface TermState {
  running: MaintenanceVerb | null;
  /** When a set's refused run may be tried again, by verb and set. */
  readonly againAt: Map<string, number>;
  /** How long behind its due time a verb begins, in milliseconds. */
  readonly lag: ReadonlyMap<MaintenanceVerb, number>;
}

const fillThresholds = async ({
  pool,
  schedule,
  onEvent,
  neverConsolidate = [],
}: SchedulerOptions): Promise<void> => {
  if (schedule.consolidateAfter_months === null || !schedule.verbs.consolidate.enabled) return;
  const sets = await fillConsolidateAfter(pool, schedule.consolidateAfter_months, neverConsolidate);
  if (sets.length > 0) onEvent({ kind: 'filled', sets });
};

const ringWhenDue = (
  verb: MaintenanceVerb,
  term: TermState,
  { schedule, onEvent, clock = systemClock }: SchedulerOptions,
  bell: Bell,
): CallOff => {
  const pending = new Set<CallOff>();
  const callOff = clock.cron(schedule.verbs[verb].cron, () => {
    if (term.running === verb) onEvent({ kind: 'overlap', verb });
    const forget = clock.after(term.lag.get(verb) ?? 0, () => {
      pending.delete(forget);
      bell.ring();
    });
    pending.add(forget);
  });
  return () => {
    callOff();
    for (const forget of pending) forget();
  };
};

const runIfDue = async (
  verb: MaintenanceVerb,
  term: TermState,
  options: SchedulerOptions,
  signal: AbortSignal,
  tally: { runs: number; failed: number },
): Promise<void> => {
  const { pool, schedule, onEvent, clock = systemClock } = options;
  const { cron, batch } = schedule.verbs[verb];
  const now = clock.now();
  const due = previousDue(cron, new Date(now.getTime() - (term.lag.get(verb) ?? 0)));
  if (due === null || signal.aborted) return;
  const key = (set: string): string => `${verb} ${set}`;
  const sets = (await dueSets(pool, verb, due, verb === 'ensure'))
    .filter(({ attempts }) => attempts < ATTEMPTS_MAX)
    .map(({ set }) => set)
    .filter((set) => (term.againAt.get(key(set)) ?? 0) <= now.getTime());
  if (sets.length === 0) return;
  onEvent({ kind: 'due', verb, due, sets });
  term.running = verb;
  try {
    const runs = await runMaintenance({
      pool,
      verb,
      sets,
      signal,
      askedBy: 'schedule',
      due,
      now,
      onEvent,
      ...(batch !== null && { batch }),
      ...(options.verbs && { verbs: options.verbs }),
      ...(options.stopLimits && { stopLimits: options.stopLimits }),
    });
    for (const { set, outcome, run_id } of runs) {
      if (run_id !== null) tally.runs++;
      if (outcome === 'failed' || outcome === 'refused') {
        tally.failed++;
        term.againAt.set(key(set), clock.now().getTime() + AGAIN_AFTER_MS);
      }
    }
  } catch (thrown) {
    const error = asWarehouseError(thrown);
    // A set that was dropped since we looked; the next round sees what there is.
    if (error.kind !== 'usage') throw thrown;
  } finally {
    term.running = null;
  }
};
