/** `pgstrata ingest`: loads streams, each from its last committed block on. */
import { Command, InvalidArgumentError } from 'commander';
import { connectFlight } from '../../flight/client.ts';
import { createHealthLog, type HealthLog } from '../../jobs/health.ts';
import { flightOptions } from '../../jobs/servers.ts';
import type { IngestEvent } from '../../jobs/ingest.ts';
import { superviseStream, type SupervisedResult, type SuperviseOptions } from '../../jobs/supervise.ts';
import { resilienceOf, type Config } from '../../runtime/config.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { createLogger } from '../../runtime/log.ts';
import { parallelSchema, WORKERS_MAX, type ParallelConfig } from '../../runtime/parallel-config.ts';
import { systemClock } from '../../runtime/resilience.ts';
import { configOf, requireMigrated, secretsOf, withDatabase, type GlobalOptions } from '../context.ts';
import {
  describeError,
  errorAsJson,
  EXIT_FAILED,
  exitCodeOf,
  printResult,
  redact,
  redactRecord,
  table,
} from '../output.ts';
import { createProgress, type Progress } from '../progress.ts';

interface Options extends GlobalOptions {
  readonly from?: number;
  readonly to?: number;
  readonly follow?: boolean;
  readonly workers?: number | 'auto';
  readonly backfill?: boolean;
}

/** A block number of the command line. */
export const blockNumber = (text: string): number => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError('must be a block number, 0 or more.');
  return value;
};

/** A number of workers of the command line. */
const workerCount = (text: string): number | 'auto' => {
  if (text === 'auto') return text;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > WORKERS_MAX)
    throw new InvalidArgumentError(`must be 1 to ${WORKERS_MAX}, or auto.`);
  return value;
};

/** The configuration with the history of every stream loaded as the command line says; how it is cut stays as it is. */
const withParallel = (config: Config, asked: Partial<Pick<ParallelConfig, 'workers' | 'bulk'>>): Config => ({
  ...config,
  streams: Object.fromEntries(
    Object.entries(config.streams).map(([name, stream]) => [
      name,
      { ...stream, parallel: parallelSchema.parse({ ...stream.parallel, ...asked }) },
    ]),
  ),
});

/** The command. */
export const ingestCommand = (): Command =>
  new Command('ingest')
    .description(
      'Load streams into PostgreSQL, each from its last committed block to the head (or for ever).',
    )
    .argument('[stream...]', 'streams of the configuration; default all')
    .option('--from <block>', 'first block to load', blockNumber)
    .option('--to <block>', 'block to stop before', blockNumber)
    .option('--follow', 'go on behind the head until stopped')
    .option('--workers <n>', 'load history by so many workers, or auto', workerCount)
    .option('--backfill', 'load past weeks of transfers that have no data yet whole, by several workers')
    .addHelpText(
      'after',
      '\nCtrl-C finishes the batch in hand; a second one stops at once. Either is safe.\n\nExample:\n  pgstrata ingest erc20_transfers --from 17000000 --follow',
    )
    .action(async (names: string[], options: Options) => {
      const given = await configOf(options);
      const { workers, backfill } = options;
      const asked = { ...(workers !== undefined && { workers }), ...(backfill === true && { bulk: true }) };
      const config = Object.keys(asked).length === 0 ? given : withParallel(given, asked);
      const streams = chooseStreams(config, names);
      checkWindow(options);
      const progress = createProgress(process.stderr, Date.now);
      const lifecycle = listenForStop((signal) =>
        progress.say(`${signal}: finishing the batch in hand (again to stop at once)`),
      );
      const onEvent = showProgress(progress, createLogger(process.env), {
        secrets: secretsOf(config),
        unattended: options.follow === true,
      });
      try {
        const results = await withDatabase(
          config,
          async (pool, url, address) => {
            let migrated = options.follow !== true;
            let known = await address();
            const database = async () => {
              // An embedded server that does not come back is missed by whoever connects to it.
              known = await address().catch(() => known);
              if (!migrated) await requireMigrated(pool);
              migrated = true;
              return known;
            };
            const health = createHealthLog(
              () => known,
              systemClock,
              (text) => redact(text, secretsOf(config)),
            );
            const { signal } = lifecycle;
            const results = await Promise.allSettled(
              streams.map((stream) =>
                runStream(config, stream, options, { database, health, signal, onEvent }),
              ),
            );
            await health.close();
            return results;
          },
          // Followed, a database that is not there yet is waited for like one that went away.
          { maxConnections: 1, migrated: options.follow !== true },
        );
        progress.finish();
        report(streams, results, options.json === true, secretsOf(config));
      } finally {
        progress.finish();
        lifecycle.dispose();
      }
    });

/** The streams a command line names; all of them when it names none. */
export const chooseStreams = (config: Config, names: readonly string[]): string[] => {
  const known = Object.keys(config.streams);
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0 || known.length === 0) {
    throw new WarehouseError(
      'usage',
      known.length === 0 ? 'the configuration has no streams' : `there is no stream ${unknown.join(', ')}`,
      {
        remedy:
          known.length === 0
            ? 'Declare one under `streams` in pgstrata.yaml.'
            : `The configuration has ${known.join(', ')}.`,
      },
    );
  }
  return names.length === 0 ? known : [...new Set(names)];
};

const checkWindow = ({ from, to }: Options): void => {
  if (from !== undefined && to !== undefined && to <= from) {
    throw new WarehouseError('usage', `--to ${to} is not behind --from ${from}`, {
      remedy: 'Blocks from --from up to, but without, --to are loaded.',
    });
  }
};

/** What the streams of a process share. */
type Shared = Pick<SuperviseOptions, 'database' | 'signal' | 'onEvent'> & { readonly health: HealthLog };

const runStream = async (
  config: Config,
  stream: string,
  options: Options,
  shared: Shared,
): Promise<SupervisedResult> => {
  const settings = config.streams[stream]!;
  const server = config.servers[settings.server]!;
  return superviseStream({
    ...shared,
    stream,
    config: settings,
    connect: async () => connectFlight(await flightOptions(server)),
    renewsToken: server.token_file !== undefined,
    resilience: resilienceOf(config, stream),
    serverKind: server.kind,
    window: { from: options.from ?? null, to: options.to ?? null },
    follow: options.follow === true,
  });
};

/** What to strike out of logs, and whether anybody waits for the end. */
interface Manner {
  readonly secrets?: readonly string[];
  readonly unattended?: boolean;
}

/** Feeds progress and log from a run's events. */
export const showProgress = (
  progress: Progress,
  log: ReturnType<typeof createLogger>,
  { secrets = [], unattended = false }: Manner = {},
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
    showTrouble(event, log, { secrets, unattended });
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
      total: heads.get(last.network) ?? null,
      rows,
    });
  };
};

/** Logs what a stream has to bear with. */
const showTrouble = (
  event: IngestEvent,
  log: ReturnType<typeof createLogger>,
  { secrets, unattended }: Required<Manner>,
): void => {
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

const report = (
  streams: readonly string[],
  results: readonly PromiseSettledResult<SupervisedResult>[],
  json: boolean,
  secrets: readonly string[],
): void => {
  const rows = results.map((result, index) =>
    result.status === 'fulfilled'
      ? { ...result.value }
      : redactRecord({ stream: streams[index] ?? '', ...errorAsJson(result.reason) }, secrets),
  );
  const done = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const labelled = done.some((result) => result.unmatched !== null);
  const text = table(
    ['stream', 'end', 'blocks', 'rows', 'batches', 'reorgs', 'retries', 'quarantined'].concat(
      labelled ? ['without label', 'dropped'] : [],
    ),
    done.map((result) => [
      result.stream,
      result.end,
      result.blocks,
      result.rows,
      result.batches,
      result.reorgs,
      result.retries,
      result.quarantined,
      ...(labelled ? [result.unmatched, result.dropped] : []),
    ]),
  );
  if (json || done.length > 0) printResult(json, { streams: rows }, text);
  const failures = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  );
  if (failures.length === 1 && done.length === 0) throw failures[0];
  for (const failure of failures)
    process.stderr.write(
      `${redact(json ? JSON.stringify(errorAsJson(failure)) : describeError(failure), secrets)}\n`,
    );
  if (failures.length > 0) process.exitCode = Math.max(EXIT_FAILED, ...failures.map(exitCodeOf));
};
