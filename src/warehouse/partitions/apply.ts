/** What every apply shares: it is the set's one maintainer, it can be stopped, and it says which step it is at. */
import { withAdvisoryLock } from '../../db/locks.ts';
import { withClient } from '../../db/pool.ts';
import type { Client, Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { maintainLock, type Step } from './plan.ts';

/** A step has begun or is done; `at` counts from 1. */
export interface StepEvent {
  readonly kind: 'step';
  readonly step: string;
  readonly state: 'begun' | 'done';
  readonly at: number;
  readonly of: number;
}

/** How a plan is carried out. */
export interface ApplyOptions<Event = StepEvent> {
  /** Stops before the next step, or in the middle of one that can be taken back. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: Event) => void;
}

/** Enough for a lock that is free; a maintainer never queues behind another. */
const MAINTAIN_WAIT_MS = 1;

/**
 * Runs `work` as the one maintainer of the set. Its signal aborts with `signal`, and when the connection that holds the lock is lost:
 * then somebody else may maintain the set.
 *
 * @throws WarehouseError `conflict` that names who maintains the set already; whatever `work` threw
 */
export const asMaintainer = <T>(
  pool: Pool,
  set: string,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal, client: Client) => Promise<T>,
): Promise<T> =>
  withClient(pool, async (client) => {
    let begun = false;
    try {
      return await withAdvisoryLock(
        client,
        maintainLock(set),
        (lost) => {
          begun = true;
          return work(signal === undefined ? lost : AbortSignal.any([signal, lost]), client);
        },
        { waitMs: MAINTAIN_WAIT_MS },
      );
    } catch (thrown) {
      if (begun || !(thrown instanceof WarehouseError) || thrown.kind !== 'conflict') throw thrown;
      throw new WarehouseError(
        'conflict',
        `${set} is being maintained already: ${thrown.message}`,
        { ...thrown.detail, remedy: 'Wait for that maintenance to finish, or stop it; nothing was done.' },
        thrown,
      );
    }
  });

/** Carries out steps in order, telling of each. @throws WarehouseError `cancelled` when asked to stop before one of them */
export const eachStep = async (
  steps: readonly Step[],
  { signal, onEvent }: ApplyOptions,
  carryOut: (step: Step) => Promise<void>,
): Promise<void> => {
  for (const [index, step] of steps.entries()) {
    if (signal.aborted) throw stoppedBefore(step.name, signal);
    const where = { kind: 'step', step: step.name, at: index + 1, of: steps.length } as const;
    onEvent({ ...where, state: 'begun' });
    await carryOut(step);
    onEvent({ ...where, state: 'done' });
  }
};

const stoppedBefore = (step: string, signal: AbortSignal): WarehouseError =>
  signal.reason instanceof WarehouseError
    ? signal.reason
    : new WarehouseError('cancelled', `stopped before the step "${step}"`, {}, signal.reason);
