/** Schedulers in a test: under a clock that the test moves, with verbs that it makes, each stopped when the test is over. */
import { afterEach, beforeEach } from 'vitest';
import type { Verbs } from '../../src/jobs/maintenance.ts';
import {
  startScheduler,
  type SchedulerEvent,
  type SchedulerOptions,
  type SchedulerResult,
} from '../../src/jobs/scheduler/scheduler.ts';
import { scheduleOf, type Schedule } from '../../src/jobs/scheduler/settings.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import type { TestDatabase } from '../database.ts';
import { until } from '../db/until.ts';
import type { FakeClock } from './fake-clock.ts';
import { journalOf } from './maintaining.ts';

/** The managed sets of a fresh database. */
export const SETS = ['account_balances', 'balance_changes', 'snapshot_rows'];

/** The poll interval that is the default. */
export const POLL_MS = 10_000;

/** Optimize is due at 04:00 each day, and begins at once; the rest is switched off. */
export const schedule = (): Schedule =>
  scheduleOf(
    parseConfig(
      `schedule:
  jitter_seconds: 0
  create: { enabled: false }
  retain: { enabled: false }
  consolidate: { enabled: false }`,
      {},
    ),
    {},
  );

/** The same with one verb more. */
export const switchedOn = (verb: 'ensure' | 'consolidate'): Schedule => {
  const { verbs, ...rest } = schedule();
  return { ...rest, verbs: { ...verbs, [verb]: { ...verbs[verb], enabled: true } } };
};

/** A scheduler, and what it has told. */
export interface Running {
  readonly events: SchedulerEvent[];
  readonly has: (kind: SchedulerEvent['kind']) => Promise<unknown>;
  readonly stop: () => Promise<SchedulerResult>;
}

/** The leader has nothing more to do but to wait: for its poll, its heartbeat, and a due time of each verb. */
export const resting = (clock: FakeClock, timers = 3): Promise<unknown> =>
  until('the leader to rest', () => clock.pending() === timers);

/** Schedulers on the file's database, whose journal is empty and whose sets are old at the start of each test. */
export const useSchedulers = (
  database: TestDatabase,
): {
  readonly start: (clock: FakeClock, verbs: Verbs, options?: Partial<SchedulerOptions>) => Running;
  /** The runs of the journal, oldest first: `optimize balance_changes done`. */
  readonly outcomes: () => Promise<string[]>;
} => {
  const running = new Set<Running>();
  beforeEach(async () => {
    await database.pool.query('truncate strata.maintenance_runs cascade');
    await database.pool.query(`update strata.partition_sets set created_at = '2026-01-01'`);
  });
  afterEach(async () => {
    for (const scheduler of running) await scheduler.stop();
  });
  return {
    outcomes: async () =>
      (await journalOf(database.pool)).map((row) => `${row.verb} ${row.set_name} ${row.outcome}`),
    start: (clock, verbs, options = {}) => {
      const events: SchedulerEvent[] = [];
      const controller = new AbortController();
      const { done } = startScheduler({
        pool: database.pool,
        schedule: schedule(),
        signal: controller.signal,
        onEvent: (event) => events.push(event),
        clock,
        random: () => 0,
        verbs,
        ...options,
      });
      const scheduler: Running = {
        events,
        has: (kind) => until(`the event ${kind}`, () => events.some((event) => event.kind === kind)),
        stop: () => {
          running.delete(scheduler);
          controller.abort(new Error('stopped by the test'));
          return done;
        },
      };
      running.add(scheduler);
      return scheduler;
    },
  };
};
