/** Waits in a test for something to become true, by looking again and again; never for a fixed time. */
import { setImmediate as nextTurn } from 'node:timers/promises';

const LIMIT_MS = 20_000;

/**
 * Returns as soon as `look` gives anything but undefined or false.
 *
 * @throws Error naming `what`, after 20 seconds
 */
export const until = async <T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> => {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== null && seen !== false) return seen;
    if (performance.now() > deadline) throw new Error(`waited ${LIMIT_MS} ms in vain for ${what}`);
    await nextTurn();
  }
};
