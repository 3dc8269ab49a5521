/** `pgstrata ingest`: loads streams, each from its last committed block on. */
import { Command, InvalidArgumentError } from 'commander';
import type { Pool } from '../../db/query.ts';
import { connectFlight } from '../../flight/client.ts';
import { flightOptions } from '../../jobs/servers.ts';
import { ingest, type IngestEvent, type IngestResult } from '../../jobs/ingest.ts';
import type { Config } from '../../runtime/config.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { createLogger } from '../../runtime/log.ts';
import { configOf, secretsOf, withDatabase, type GlobalOptions } from '../context.ts';
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
}

/** Connections a stream needs: its lock, its transaction, and one for what is done beside it. */
const CONNECTIONS_PER_STREAM = 3;

/** A block number of the command line. */
export const blockNumber = (text: string): number => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError('must be a block number, 0 or more.');
  return value;
};

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
    .addHelpText(
      'after',
      '\nCtrl-C finishes the batch in hand; a second one stops at once. Either is safe.\n\nExample:\n  pgstrata ingest erc20_transfers --from 17000000 --follow',
    )
    .action(async (names: string[], options: Options) => {
      const config = await configOf(options);
      const streams = chooseStreams(config, names);
      checkWindow(options);
      const progress = createProgress(process.stderr, Date.now);
      const lifecycle = listenForStop((signal) =>
        progress.say(`${signal}: finishing the batch in hand (again to stop at once)`),
      );
      try {
        const results = await withDatabase(
          config,
          (pool) =>
            Promise.allSettled(
              streams.map((stream) => runStream(config, stream, pool, options, lifecycle.signal, progress)),
            ),
          { maxConnections: 2 + CONNECTIONS_PER_STREAM * streams.length },
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

const runStream = async (
  config: Config,
  stream: string,
  pool: Pool,
  options: Options,
  signal: AbortSignal,
  progress: Progress,
): Promise<IngestResult> => {
  const settings = config.streams[stream]!;
  const server = config.servers[settings.server]!;
  const client = connectFlight(await flightOptions(server));
  try {
    return await ingest({
      pool,
      client,
      stream,
      config: settings,
      serverKind: server.kind,
      window: { from: options.from ?? null, to: options.to ?? null },
      follow: options.follow === true,
      signal,
      now: new Date(),
      onEvent: showProgress(progress, createLogger(process.env)),
    });
  } finally {
    client.close();
  }
};

/** Feeds progress and log from a run's events. */
export const showProgress = (
  progress: Progress,
  log: ReturnType<typeof createLogger>,
): ((event: IngestEvent) => void) => {
  const heads = new Map<string, number>();
  let rows = 0;
  return (event) => {
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
    if (event.kind !== 'committed') return;
    rows += event.result.rows;
    const last = event.result.ranges.at(-1)?.range;
    if (last === undefined) return;
    log.info(
      { stream: event.stream, network: last.network, block: last.end, rows: event.result.rows },
      'committed',
    );
    progress.update({
      label: event.stream,
      unit: 'block',
      done: last.end,
      total: heads.get(last.network) ?? null,
      rows,
    });
  };
};

const report = (
  streams: readonly string[],
  results: readonly PromiseSettledResult<IngestResult>[],
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
    ['stream', 'end', 'blocks', 'rows', 'batches', 'reorgs', 'quarantined'].concat(
      labelled ? ['without label', 'dropped'] : [],
    ),
    done.map((result) => [
      result.stream,
      result.end,
      result.blocks,
      result.rows,
      result.batches,
      result.reorgs,
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
