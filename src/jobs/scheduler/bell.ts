/** A bell that ends a rest: rung while nobody rests, it ends the next one. */
import type { Clock } from './clock.ts';

/** The bell. */
export interface Bell {
  ring(): void;
  /** Returns when the bell rings, when its signal aborts, or when so many milliseconds are over. */
  restUpTo(ms: number, clock: Clock): Promise<void>;
  /** Lets go of the signal. */
  forget(): void;
}

/** A bell that the signal rings for good. */
export const createBell = (signal: AbortSignal): Bell => {
  let rung = false;
  let wake = (): void => undefined;
  const ring = (): void => {
    rung = true;
    wake();
  };
  signal.addEventListener('abort', ring);
  return {
    ring,
    restUpTo: async (ms, clock) => {
      if (!rung && !signal.aborted) {
        const over = Promise.withResolvers<void>();
        wake = over.resolve;
        const callOff = clock.after(ms, over.resolve);
        await over.promise;
        callOff();
        wake = () => undefined;
      }
      rung = false;
    },
    forget: () => signal.removeEventListener('abort', ring),
  };
};
