/** Tells of a catch-up: what each worker does, and how far all of them are. */
import { asWarehouseError } from '../db/errors.ts';
import type { CrewEvent } from './catch-up-crew.ts';
import type { CatchUpHealth, WorkerTally } from '../warehouse/stream-health.ts';
import type { IngestEvent, IngestOptions } from './run.ts';

/** Turns what a crew does into events of its stream. */
export const crewReporter = (
  { stream, onEvent }: Pick<IngestOptions, 'stream' | 'onEvent'>,
  network: string,
): ((event: CrewEvent) => void) => {
  let rows = 0;
  const tallies = new Map<number, WorkerTally>();
  return (event) => {
    const { worker, span } = event;
    const loaded = tallyWith(tallies.get(worker), event);
    tallies.set(worker, loaded);
    const partition = { kind: 'partition', stream, network, worker, ...span, loaded } as const;
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

/** What a worker has loaded by this event. */
const tallyWith = (before: WorkerTally = { partitions: 0, rows: 0 }, event: CrewEvent): WorkerTally =>
  event.kind === 'ended' && event.outcome.kind === 'loaded'
    ? { partitions: before.partitions + 1, rows: before.rows + event.outcome.rows }
    : before;

/** What `status` shows of a catch-up after one more of its events; null when no worker is left. */
export const afterPartition = (
  before: CatchUpHealth | null,
  event: Extract<IngestEvent, { kind: 'partition' | 'catch-up' }>,
): CatchUpHealth | null => {
  const { network } = event;
  const { done, total, rows, workers } = before ?? { done: 0, total: 0, rows: 0, workers: [] };
  if (event.kind === 'catch-up') {
    const isOver = workers.length === 0 && event.done === event.total;
    return isOver ? null : { network, done: event.done, total: event.total, rows: event.rows, workers };
  }
  const worker = event.worker + 1;
  const others = workers.filter((span) => span.worker !== worker);
  const own = event.state === 'loading' ? [{ worker, from: event.from, to: event.to, ...event.loaded }] : [];
  return {
    network,
    done,
    total,
    rows,
    workers: [...others, ...own].toSorted((a, b) => a.worker - b.worker),
  };
};
