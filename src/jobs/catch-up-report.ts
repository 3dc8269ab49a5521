/** Tells of a catch-up: what each worker does, and how far all of them are. */
import { asWarehouseError } from '../db/errors.ts';
import type { CrewEvent } from './catch-up-crew.ts';
import type { IngestOptions } from './run.ts';

/** Turns what a crew does into events of its stream. */
export const crewReporter = (
  { stream, onEvent }: Pick<IngestOptions, 'stream' | 'onEvent'>,
  network: string,
): ((event: CrewEvent) => void) => {
  let rows = 0;
  return (event) => {
    const partition = { kind: 'partition', stream, network, worker: event.worker, ...event.span } as const;
    if (event.kind === 'begun') {
      onEvent({ ...partition, state: 'loading' });
      return;
    }
    const { outcome, seconds, done, total, workers } = event;
    if (outcome.kind === 'loaded') rows += outcome.rows;
    onEvent(
      outcome.kind === 'failed'
        ? { ...partition, state: 'failed', seconds, error: asWarehouseError(outcome.error, { stream }) }
        : {
            ...partition,
            state: outcome.kind,
            seconds,
            ...('rows' in outcome ? { rows: outcome.rows } : {}),
          },
    );
    onEvent({ kind: 'catch-up', stream, network, done, total, rows, workers });
  };
};
