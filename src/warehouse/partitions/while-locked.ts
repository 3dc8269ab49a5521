/** Tries again while only a lock is missing, with pauses in which whoever has queued behind us goes first. */
import { setTimeout as pause } from 'node:timers/promises';
import { sqlstateOf } from '../../db/errors.ts';

/** How often, and how long to let go in between. */
export interface Attempts {
  readonly attempts: number;
  readonly pause_ms: number;
}

/** SQLSTATE lock_not_available: lock_timeout is over. */
export const LOCK_TIMEOUT = '55P03';
/** SQLSTATE deadlock_detected. */
export const DEADLOCK = '40P01';

/** Whether it failed for a lock that somebody else held. */
export const isLocked = (thrown: unknown, states: ReadonlySet<string> = MISSING): boolean =>
  states.has(sqlstateOf(thrown) ?? '');

const MISSING: ReadonlySet<string> = new Set([LOCK_TIMEOUT, DEADLOCK]);

/**
 * Runs `attempt`, told its number from 1 on, until it succeeds.
 *
 * @param options.states SQLSTATEs that are worth another attempt; a missing lock and a deadlock
 * @param options.between called before each further attempt
 * @throws what the last attempt failed with, or the first that failed for something else; the signal's abort in a pause
 */
export const whileLocked = async <T>(
  { attempts, pause_ms }: Attempts,
  signal: AbortSignal,
  attempt: (number: number) => Promise<T>,
  options: { readonly states?: ReadonlySet<string>; readonly between?: () => Promise<unknown> } = {},
): Promise<T> => {
  for (let number = 1; ; number++) {
    try {
      return await attempt(number);
    } catch (thrown) {
      if (number >= attempts || signal.aborted || !isLocked(thrown, options.states)) throw thrown;
    }
    await pause(pause_ms, undefined, { signal });
    await options.between?.();
  }
};
