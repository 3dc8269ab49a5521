/** `pgstrata ingest`: loads streams, each from its last committed block on. */
import { Command, InvalidArgumentError } from 'commander';
import { connectFlight } from '../../flight/client.ts';
import { createHealthLog, type HealthLog } from '../../jobs/health.ts';
import { flightOptions } from '../../jobs/servers.ts';
import { superviseStream, type SupervisedResult, type SuperviseOptions } from '../../jobs/supervise.ts';
import { resilienceOf, type Config } from '../../runtime/config.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { createLogger } from '../../runtime/log.ts';
import { parallelSchema, WORKERS_MAX, type ParallelConfig } from '../../runtime/parallel-config.ts';
import { systemClock } from '../../runtime/resilience.ts';
import { topologyOf } from '../../warehouse/topology.ts';
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
import { showProgress } from '../ingest-progress.ts';
import { createProgress } from '../progress.ts';

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
      // On a terminal somebody reads; whoever asks for a log gets one there, too.
      const told = process.stderr.isTTY && process.env['PGSTRATA_LOG'] === undefined;
      const log = createLogger(told ? { PGSTRATA_LOG: 'silent' } : process.env);
      const manner = { secrets: secretsOf(config), unattended: options.follow === true, told };
      const onEvent = showProgress(progress, log, manner);
      try {
        const results = await withDatabase(
          config,
          async (pool, url, address) => {
            if (backfill === true && !options.follow && (await topologyOf(pool)) === 'citus')
              progress.say(
                '--backfill changes nothing on a cluster: history is loaded into its shards as it comes',
              );
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
