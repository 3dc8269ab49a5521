/** A clock that stands still until a test moves it; cron expressions come due by the same arithmetic as in the scheduler. */
import type { Clock } from '../../src/jobs/scheduler/clock.ts';
import { nextDue } from '../../src/jobs/scheduler/cron.ts';

/** The clock, and its hand. */
export interface FakeClock extends Clock {
  /** Moves on; what comes due on the way is called at its time, in order. */
  advance(ms: number): void;
  /** How many timers wait. */
  pending(): number;
}

interface Timer {
  readonly at: number;
  readonly call: () => void;
}

/** A clock that shows `start`. */
export const createFakeClock = (start: string): FakeClock => {
  let now = Date.parse(start);
  const timers = new Set<Timer>();
  const set = (at: number, call: () => void): (() => void) => {
    const timer = { at, call };
    timers.add(timer);
    return () => timers.delete(timer);
  };
  const cron: Clock['cron'] = (expression, call) => {
    let callOff = (): unknown => undefined;
    const next = (): void => {
      const due = nextDue(expression, new Date(now));
      if (due !== null) {
        callOff = set(due.getTime(), () => {
          next();
          call();
        });
      }
    };
    next();
    return () => void callOff();
  };
  return {
    now: () => new Date(now),
    after: (ms, call) => set(now + ms, call),
    cron,
    pending: () => timers.size,
    advance: (ms) => {
      const end = now + ms;
      for (;;) {
        const [first] = [...timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at);
        if (first === undefined) break;
        timers.delete(first);
        now = Math.max(now, first.at);
        first.call();
      }
      now = end;
    },
  };
};
