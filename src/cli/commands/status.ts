/** `pgstrata status`: where every stream stands and what the partitions hold; reads nothing but the database. */
import { Command } from 'commander';
import { FAILED_RUN } from '../../warehouse/partitions/alerts.ts';
import { isStopped, readStatus, type StreamStatus, type WarehouseStatus } from '../../warehouse/status.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { EXIT_FAILED, printResult, table, type Cell } from '../output.ts';
import { duration } from '../progress.ts';

/** The command. */
export const statusCommand = (): Command =>
  new Command('status')
    .description('Show where streams stand and how they fare, partitions and quarantined rows.')
    .addHelpText(
      'after',
      '\nReads nothing but the database, so it works from any machine. Exits 1 when a stream was stopped by an error, or when the last maintenance run of a set and verb failed.\n\nExample:\n  pgstrata status --json | jq .streams',
    )
    .action(async (options: GlobalOptions) => {
      const status = await withDatabase(await configOf(options), (pool) => readStatus(pool));
      printResult(options.json === true, status, describe(status));
      const failed = status.alerts.some(({ check }) => check === FAILED_RUN);
      if (failed || status.streams.some(isStopped)) process.exitCode = EXIT_FAILED;
    });

/** A column, and whether it has anything to say of a stream: one that is silent of all is left out, so that a table fits a screen. */
interface Column {
  readonly head: string;
  readonly cell: (row: StreamStatus) => Cell;
  readonly speaks?: (row: StreamStatus) => boolean;
}

const COLUMNS: readonly Column[] = [
  { head: 'stream', cell: ({ stream }) => stream },
  { head: 'network', cell: ({ network }) => network },
  { head: 'state', cell: ({ state }) => state },
  { head: 'block', cell: ({ position }) => position },
  { head: 'head', cell: ({ head }) => head },
  { head: 'lag', cell: ({ lag_seconds: lag }) => (lag === null ? null : duration(lag)) },
  { head: 'rows/s', cell: ({ rows_per_second: rate }) => (rate === null ? null : Math.round(rate)) },
  { head: 'rows', cell: ({ rows }) => rows },
  { head: 'gaps', cell: ({ gaps }) => gaps },
  { head: 'workers', cell: ({ workers }) => workers.length, speaks: ({ workers }) => workers.length > 0 },
  {
    head: 'history',
    cell: ({ catch_up: catchUp }) => shareOf(catchUp),
    speaks: ({ catch_up: catchUp }) => shareOf(catchUp) !== null,
  },
  {
    head: 'quarantined',
    cell: ({ quarantined }) => quarantined,
    speaks: ({ quarantined }) => (quarantined ?? 0) > 0,
  },
  { head: 'retries', cell: ({ retries }) => retries, speaks: ({ retries }) => (retries ?? 0) > 0 },
  {
    head: 'breaker',
    cell: ({ breaker }) => breaker,
    speaks: ({ breaker }) => breaker !== null && breaker !== 'closed',
  },
];

const streamsTable = (streams: readonly StreamStatus[]): string => {
  const shown = COLUMNS.filter(({ speaks }) => speaks === undefined || streams.some(speaks));
  return table(
    shown.map(({ head }) => head),
    streams.map((row) => shown.map(({ cell }) => cell(row))),
    new Set(['lag']),
  );
};

/** How much of the history is loaded that was missing; null when none is being loaded. */
const shareOf = (catchUp: StreamStatus['catch_up']): string | null =>
  catchUp === null || catchUp.total === 0 ? null : `${Math.floor((100 * catchUp.done) / catchUp.total)} %`;

/** The last error of each stream that has one, once. */
const troubles = (streams: readonly StreamStatus[]): string[] => {
  const lines = streams.flatMap(({ stream, state, failures, last_error: error }) =>
    error === null ? [] : [`${stream} ${state}, ${failures} failures, ${error.at}: ${error.message}`],
  );
  return [...new Set(lines)];
};

/** Weeks that are loaded beside the set, and how long they will be. */
const historyLines = ({
  weeks,
  attached,
  rows_per_second: rate,
  eta_seconds: eta,
}: WarehouseStatus['history']): string[] => {
  if (weeks.length === 0) return [];
  const pace = rate === null ? '' : `, ${Math.round(rate).toLocaleString('en')} rows/s`;
  const end = eta === null ? '' : `, these in ${duration(eta)}`;
  return [
    '',
    table(
      ['week of history', 'state', 'size MB', 'since', 'error'],
      weeks.map((row) => [row.week, row.state, Math.round(row.bytes / 1e6), row.opened_at, row.error]),
    ),
    `${attached} weeks attached${pace}${end}`,
  ];
};

const describe = ({ cluster, streams, sets, history, alerts }: WarehouseStatus): string =>
  [
    ...(cluster === null ? [] : [`citus: ${cluster.shards} shards on ${cluster.workers} workers`, '']),
    streams.length === 0
      ? 'no stream has been loaded yet: declare one in pgstrata.yaml and run `pgstrata ingest`'
      : [streamsTable(streams), ...troubles(streams)].join('\n'),
    '',
    table(
      ['partition set', 'weeks', 'leaves', 'first week', 'ahead until', 'size MB'],
      sets.map((row) => [
        row.set_name,
        row.weeks,
        row.leaves,
        row.first_week,
        row.covered_until,
        Math.round(row.bytes / 1e6),
      ]),
    ),
    ...historyLines(history),
    ...alerts.flatMap(({ set, check, state, says, remedy }) => [
      '',
      `${state === 'fault' ? '✗' : '!'} ${set === null ? check : `${set}: ${check}`}: ${says}`,
      ...(remedy === undefined ? [] : [`    → ${remedy}`]),
    ]),
  ].join('\n');
