/** Feeds progress and log of `ingest` and `demo` from what happens to their streams. */
import type { IngestEvent } from '../jobs/ingest.ts';
import type { WarehouseError } from '../runtime/errors.ts';
import type { Logger } from '../runtime/log.ts';
import { errorAsJson, redact, redactRecord } from './output.ts';
import type { Progress } from './progress.ts';

/** What to strike out, whether anybody waits for the end, and how trouble is told. */
interface Manner {
  readonly secrets?: readonly string[];
  readonly unattended?: boolean;
  /** In sentences beside the progress, for people. */
  readonly told?: boolean;
}

/** Feeds progress and log from a run's events. */
export const showProgress = (
  progress: Progress,
  log: Logger,
  { secrets = [], unattended = false, told = false }: Manner = {},
): ((event: IngestEvent) => void) => {
  const heads = new Map<string, number>();
  /** What each worker of a stream is loading, for those that load history. */
  const loading = new Map<string, Map<number, string>>();
  const catchingUp = new Set<string>();
  const sayPartition = (event: Extract<IngestEvent, { kind: 'partition' }>): void => {
    const { stream, network, worker, from, to, state, seconds, error, loaded } = event;
    const said = { stream, network, worker: worker + 1, from, to: to - 1, state, rows: event.rows, seconds };
    catchingUp.add(stream);
    const workers = loading.get(stream) ?? new Map<number, string>();
    loading.set(stream, workers);
    if (state === 'loading') workers.set(worker, `${from}–${to - 1}, ${loaded.partitions} done`);
    else workers.delete(worker);
    if (error === undefined) return log.info(said, 'partition');
    log.warn(
      { ...said, kind: error.kind, grpcStatus: error.detail.grpcStatus, sqlstate: error.detail.sqlstate },
      'partition',
    );
    progress.say(`${stream}: blocks ${from}–${to - 1} failed: ${redact(error.message, secrets)}`);
  };
  let rows = 0;
  return (event) => {
    showTrouble(event, log, { secrets, unattended, told });
    if (told) tellTrouble(event, progress, { secrets, unattended });
    if (event.kind === 'head') heads.set(event.network, event.block);
    if (event.kind === 'reorg') {
      log.warn(
        {
          stream: event.stream,
          network: event.range.network,
          from: event.range.start,
          rows: event.rowsErased,
        },
        'reorg',
      );
      progress.say(
        `${event.stream}: reorg on ${event.range.network} from block ${event.range.start}, ${event.rowsErased} rows taken back`,
      );
    }
    if (event.kind === 'week') {
      const { week, rows: ofWeek, folded } = event.attached;
      log.info({ stream: event.stream, week: week.toISOString(), rows: ofWeek, folded }, 'week attached');
    }
    if (event.kind === 'partition') sayPartition(event);
    if (event.kind === 'catch-up') {
      const { stream, network, done, total, workers } = event;
      log.info({ stream, network, done, total, rows: event.rows, workers }, 'catching up');
      if (done === total || loading.get(stream)?.size === 0) catchingUp.delete(stream);
      progress.update({
        label: stream,
        unit: 'block',
        done,
        total,
        rows: event.rows,
        notes: [...(loading.get(stream) ?? [])].map(([worker, span]) => `${worker + 1}: ${span}`),
      });
    }
    if (event.kind !== 'committed') return;
    rows += event.result.rows;
    const last = event.result.ranges.at(-1)?.range;
    if (last === undefined) return;
    log.info(
      { stream: event.stream, network: last.network, block: last.end, rows: event.result.rows },
      'committed',
    );
    // While history is loaded in parallel the newest block says nothing of how far that is.
    if (catchingUp.has(event.stream)) return;
    progress.update({
      label: event.stream,
      unit: 'block',
      done: last.end,
      // A chain that grows meanwhile has passed the head that was asked for.
      total: heads.has(last.network) ? Math.max(last.end, heads.get(last.network)!) : null,
      rows,
    });
  };
};

/** Logs what a stream has to bear with. */
const showTrouble = (event: IngestEvent, log: Logger, { secrets, unattended }: Required<Manner>): void => {
  const { stream } = event;
  if (event.kind === 'retry') {
    const { error, failures, delay_ms } = event;
    log.warn({ stream, failures, delay_ms, ...redactRecord(errorAsJson(error), secrets) }, 'trying again');
  }
  if (event.kind === 'breaker') log.info({ stream, breaker: event.state }, 'circuit breaker');
  if (event.kind === 'slower') log.info({ stream, delay_ms: event.delay_ms }, 'asking more slowly');
  // At once, and not only at the end, where other streams may go on for months.
  if (event.kind === 'failed' && unattended)
    log.warn({ stream, ...redactRecord(errorAsJson(event.error), secrets) }, 'stream stopped');
};

/** Says it in sentences. What to do is said with the first failure of several. */
const tellTrouble = (
  event: IngestEvent,
  progress: Progress,
  { secrets, unattended }: Pick<Required<Manner>, 'secrets' | 'unattended'>,
): void => {
  const say = (text: string): void => progress.say(redact(`${event.stream}: ${text}`, secrets));
  const remedyOf = ({ detail }: WarehouseError): string =>
    detail.remedy === undefined ? '' : `\n    → ${detail.remedy}`;
  if (event.kind === 'retry') {
    const { error, failures, delay_ms } = event;
    say(
      `${error.message}; trying again in ${(delay_ms / 1000).toFixed(1)} s${failures === 1 ? remedyOf(error) : ''}`,
    );
  }
  if (event.kind === 'slower')
    say(`waiting ${(event.delay_ms / 1000).toFixed(1)} s before each query, for the server is overloaded`);
  if (event.kind === 'failed' && unattended) say(`stopped: ${event.error.message}${remedyOf(event.error)}`);
};
