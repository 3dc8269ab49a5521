/** Asks a server again for a partition that it failed to give, while the other workers go on. */
import { asWarehouseError } from '../db/errors.ts';
import { afterFailure, FRESH, retryDelay, type Clock, type RetrySettings } from '../runtime/resilience.ts';
import { prospectOf } from '../runtime/transient.ts';
import type { IngestEvent, PartitionRetry } from './run.ts';

/** What the tries of a partition are bounded and told by. */
interface PartitionTries {
  readonly stream: string;
  readonly settings: RetrySettings;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onEvent: (event: IngestEvent) => void;
}

/**
 * At most `settings.tries` tries of each partition. What PostgreSQL refuses is not tried again here: its connections are all
 * made anew by the next try of the stream.
 */
export const retryPartitions =
  ({ stream, settings, clock, signal, onEvent }: PartitionTries): PartitionRetry =>
  async (load) => {
    for (let state = FRESH; ;) {
      try {
        return await load();
      } catch (thrown) {
        const error = asWarehouseError(thrown, { stream });
        const next =
          error.detail.grpcStatus === undefined
            ? null
            : afterFailure(state, prospectOf(error), settings, { unattended: false, renewsToken: false });
        if (next === null || signal.aborted) throw thrown;
        state = next;
        const delay_ms = retryDelay(state.failures, settings, clock.random);
        onEvent({ kind: 'retry', stream, error, failures: state.failures, delay_ms });
        await clock.sleep(delay_ms, signal);
        if (signal.aborted) throw thrown;
      }
    }
  };
