/** Work that is asked to stop, then has its statements cancelled, then is left behind: a stop takes seconds, not hours. */
import { watchLent } from '../db/lent.ts';
import type { Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';

/** How patient a stop is, in milliseconds after the signal. */
export interface StopLimits {
  /** Then the running statements are cancelled, again and again. */
  readonly cancelAfter_ms: number;
  /** Then the work is left to itself: its process is about to end. */
  readonly giveUpAfter_ms: number;
}

/** All over within ten seconds, with some to spare for the journal. */
const LIMITS: StopLimits = { cancelAfter_ms: 3_000, giveUpAfter_ms: 8_000 };

/** A statement begun after one cancel is caught by the next. */
const CANCEL_AGAIN_MS = 250;

/**
 * Runs `work` on a view of the pool. Once the signal has aborted, it may finish by itself for a while; then what it has running is
 * cancelled in the server, which takes each open transaction back whole.
 *
 * @throws WarehouseError `cancelled` when even that does not end it in time; whatever `work` threw
 */
export const stoppable = async <T>(
  pool: Pool,
  signal: AbortSignal,
  limits: StopLimits = LIMITS,
  work: (view: Pool) => Promise<T>,
): Promise<T> => {
  const lent = watchLent(pool);
  const timers: NodeJS.Timeout[] = [];
  const givenUp = Promise.withResolvers<never>();
  const cancelling = new Set<Promise<void>>();
  const cancel = (): void => {
    const asked = lent.cancel().finally(() => cancelling.delete(asked));
    cancelling.add(asked);
  };
  const onAbort = (): void => {
    timers.push(
      setTimeout(() => {
        cancel();
        timers.push(setInterval(cancel, CANCEL_AGAIN_MS));
      }, limits.cancelAfter_ms),
      setTimeout(
        () => givenUp.reject(new WarehouseError('cancelled', 'it did not stop in time and was left behind')),
        limits.giveUpAfter_ms,
      ),
    );
  };
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work(lent.pool), givenUp.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    for (const timer of timers) clearTimeout(timer);
    lent.forget();
    // A cancel still under way must not hit whoever gets the connection next.
    await Promise.all(cancelling);
  }
};
