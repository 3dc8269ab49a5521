/** Tells of a catch-up: what each worker does, and how far all of them are. */
import { asWarehouseError } from '../db/errors.ts';
import type { CrewEvent } from './catch-up-crew.ts';
import type { CatchUpHealth } from '../warehouse/stream-health.ts';
import type { IngestEvent, IngestOptions } from './run.ts';

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

/** What `status` shows of a catch-up after one more of its events; null when no worker is left. */
export const afterPartition = (
  before: CatchUpHealth | null,
  event: Extract<IngestEvent, { kind: 'partition' | 'catch-up' }>,
): CatchUpHealth | null => {
  const { network } = event;
  const { done, total, workers } = before ?? { done: 0, total: 0, workers: [] };
  if (event.kind === 'catch-up') {
    const isOver = workers.length === 0 && event.done === event.total;
    return isOver ? null : { network, done: event.done, total: event.total, workers };
  }
  const worker = event.worker + 1;
  const others = workers.filter((span) => span.worker !== worker);
  const own = event.state === 'loading' ? [{ worker, from: event.from, to: event.to }] : [];
  return {
    network,
    done,
    total,
    workers: [...others, ...own].toSorted((a, b) => a.worker - b.worker),
  };
};
