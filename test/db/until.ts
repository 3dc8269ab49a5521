/** Waits in a test for something to become true, by looking again and again; never for a fixed time. */
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';

const LIMIT_MS = 60_000;

/** Looks that follow each other at once: most things are true by then. */
const QUICK_LOOKS = 20;
/** Whoever looks without a pause takes the processor from those who are looked at. */
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 25;

/**
 * Returns as soon as `look` gives anything but undefined or false.
 *
 * @throws Error naming `what`, after a minute
 */
export const until = async <T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> => {
  const deadline = performance.now() + LIMIT_MS;
  for (let looks = 1, pause_ms = FIRST_PAUSE_MS; ; looks += 1) {
    const seen = await look();
    if (seen !== undefined && seen !== null && seen !== false) return seen;
    if (performance.now() > deadline) throw new Error(`waited ${LIMIT_MS} ms in vain for ${what}`);
    if (looks <= QUICK_LOOKS) await nextTurn();
    else {
      await pause(pause_ms);
      pause_ms = Math.min(2 * pause_ms, LONGEST_PAUSE_MS);
    }
  }
};
