/** `pgstrata status`: where every stream stands and what the partitions hold; reads nothing but the database. */
import { Command } from 'commander';
import { FAILED_RUN } from '../../warehouse/partitions/alerts.ts';
import { readStatus, type WarehouseStatus } from '../../warehouse/status.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { EXIT_FAILED, printResult, table } from '../output.ts';

/** The command. */
export const statusCommand = (): Command =>
  new Command('status')
    .description('Show positions of streams, partitions and quarantined rows.')
    .addHelpText(
      'after',
      '\nExits 1 when the last maintenance run of a set and verb failed.\n\nExample:\n  pgstrata status --json | jq .streams',
    )
    .action(async (options: GlobalOptions) => {
      const status = await withDatabase(await configOf(options), (pool) => readStatus(pool));
      printResult(options.json === true, status, describe(status));
      if (status.alerts.some(({ check }) => check === FAILED_RUN)) process.exitCode = EXIT_FAILED;
    });

const describe = ({ streams, sets, alerts }: WarehouseStatus): string =>
  [
    streams.length === 0
      ? 'no stream has been loaded yet: declare one in pgstrata.yaml and run `pgstrata ingest`'
      : table(
          ['stream', 'network', 'block', 'batches', 'rows', 'quarantined', 'last commit'],
          streams.map((row) => [
            row.stream,
            row.network,
            row.position,
            row.batches,
            row.rows,
            row.quarantined,
            row.last_commit,
          ]),
        ),
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
    ...alerts.flatMap(({ set, check, state, says, remedy }) => [
      '',
      `${state === 'fault' ? '✗' : '!'} ${set === null ? check : `${set}: ${check}`}: ${says}`,
      ...(remedy === undefined ? [] : [`    → ${remedy}`]),
    ]),
  ].join('\n');
