/** `pgstrata labels`: loads, lists, removes labels of accounts, and joins them to tables by a view. */
import { basename } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Config, StreamConfig } from '../../runtime/config.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { addLabels, type OnDuplicate } from '../../warehouse/labels/add.ts';
import { LABEL_TYPES, type LabelType } from '../../warehouse/labels/column-types.ts';
import { listLabels, removeLabels, type LabelUse } from '../../warehouse/labels/registry.ts';
import { joinLabels } from '../../warehouse/labels/views.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { openCsv } from '../csv-file.ts';
import { printResult, table } from '../output.ts';

interface AddOptions extends GlobalOptions {
  readonly key: string;
  readonly type?: Readonly<Record<string, LabelType>>;
  readonly onDuplicate: OnDuplicate;
  readonly replace?: boolean;
}

interface RemoveOptions extends GlobalOptions {
  readonly force?: boolean;
}

interface JoinOptions extends GlobalOptions {
  readonly stream?: string;
  readonly table?: string;
  readonly on?: string;
  readonly inner?: boolean;
  readonly columns?: string;
  readonly prefix?: string;
  readonly count?: boolean;
}

/** One `--type column=type`, beside those before it. */
const typeOption = (
  text: string,
  before: Readonly<Record<string, LabelType>> = {},
): Readonly<Record<string, LabelType>> => {
  const at = text.lastIndexOf('=');
  const type = LABEL_TYPES.find((known) => known === text.slice(at + 1));
  if (at < 1 || type === undefined)
    throw new InvalidArgumentError(`must look like column=type, the type one of ${LABEL_TYPES.join(', ')}.`);
  return { ...before, [text.slice(0, at)]: type };
};

/** The command. */
export const labelsCommand = (): Command =>
  new Command('labels')
    .description('Load labels of accounts from CSV files, and join them.')
    .addHelpText('after', '\nExample:\n  pgstrata labels add exchanges exchanges.csv --key address')
    .addCommand(addCommand())
    .addCommand(listCommand())
    .addCommand(removeCommand())
    .addCommand(joinCommand());

const addCommand = (): Command =>
  new Command('add')
    .description(
      'Load a CSV file as the table strata.labels_NAME; with --replace, in the place of what is there.',
    )
    .argument('<name>', 'name of the labels')
    .argument('<file>', 'CSV file (UTF-8) whose first line names the columns')
    .option('--key <column>', 'column that holds the account', 'address')
    .option('--type <column=type>', `type of a column: ${LABEL_TYPES.join(', ')}`, typeOption)
    .addOption(
      new Option('--on-duplicate <choice>', 'which row of a key that comes more than once to keep')
        .choices(['refuse', 'first', 'last'])
        .default('refuse'),
    )
    .option('--replace', 'take the place of labels of that name, at once and whole')
    .addHelpText(
      'after',
      '\nExample:\n  pgstrata labels add exchanges exchanges.csv --type founded=date --on-duplicate last --replace',
    )
    .action(async (name: string, file: string, options: AddOptions) => {
      const config = await configOf(options);
      const handle = await openCsv(file);
      const added = await withDatabase(config, (pool) =>
        addLabels(pool, {
          name,
          source: handle.createReadStream(), // which closes it
          fileName: basename(file),
          key: options.key,
          types: options.type ?? {},
          onDuplicate: options.onDuplicate,
          replace: options.replace === true,
        }),
      );
      printResult(
        options.json === true,
        added,
        [
          `${added.table}: ${added.rows.toLocaleString('en')} labels${added.replaced ? ', in place of those before' : ''}`,
          ...(added.duplicates > 0
            ? [`${added.duplicates.toLocaleString('en')} rows left out: their key came more than once`]
            : []),
          '',
          table(
            ['column', 'type', 'in the file'],
            added.columns.map((column) => [column.name, column.type, column.header]),
          ),
        ].join('\n'),
      );
    });

const listCommand = (): Command =>
  new Command('list')
    .description('Show loaded labels, their columns, and which streams and views use them.')
    .addHelpText('after', '\nExample:\n  pgstrata labels list --json')
    .action(async (options: GlobalOptions) => {
      const labels = await withDatabase(await configOf(options), listLabels);
      printResult(options.json === true, { labels }, describe(labels));
    });

const describe = (labels: readonly LabelUse[]): string =>
  labels.length === 0
    ? 'there are no labels yet: load some with `pgstrata labels add`'
    : table(
        ['labels', 'rows', 'columns', 'file', 'loaded', 'used by'],
        labels.map((label) => [
          label.name,
          label.rows,
          label.columns.map(({ name, type }) => `${name} ${type}`).join(', '),
          label.file,
          label.loaded_at.toISOString(),
          [...label.streams.map((stream) => `stream ${stream}`), ...label.views].join(', '),
        ]),
      );

const removeCommand = (): Command =>
  new Command('remove')
    .description('Drop labels that no stream and no view uses.')
    .argument('<name>', 'name of the labels')
    .option('--force', 'though a stream that this configuration does not have joined them when it ran last')
    .addHelpText('after', '\nExample:\n  pgstrata labels remove exchanges')
    .action(async (name: string, options: RemoveOptions) => {
      const config = await configOf(options);
      const streams = Object.entries(config.streams);
      const configured = streams.filter(([, stream]) => joins(stream, name)).map(([stream]) => stream);
      await withDatabase(config, (pool) =>
        removeLabels(pool, name, {
          configured,
          known: streams.map(([stream]) => stream),
          force: options.force === true,
        }),
      );
      printResult(options.json === true, { removed: name }, `labels ${name} are gone`);
    });

const joins = (stream: StreamConfig, name: string): boolean =>
  stream.load === 'rows' && (stream.labels ?? []).some((label) => label.name === name);

const joinCommand = (): Command =>
  new Command('join')
    .description('Make the view TABLE_with_NAME: the table with its labels, as they are when it is read.')
    .argument('<name>', 'name of the labels')
    .option('--stream <name>', 'to the table of this stream')
    .option('--table <table>', 'to this table or view (schema.table)')
    .option('--on <column>', 'column that holds the account (default account_address)')
    .option('--inner', 'leave rows without a label out')
    .option('--columns <names>', 'columns of the labels, with commas between (default all)')
    .option('--prefix <text>', "what stands before the labels' columns in the view")
    .option('--count', 'count the rows without a label, which reads the whole table')
    .addHelpText('after', '\nExample:\n  pgstrata labels join exchanges --table strata.balances_current')
    .action(async (name: string, options: JoinOptions) => {
      const config = await configOf(options);
      const base = tableOf(config, options);
      const joined = await withDatabase(config, (pool) =>
        joinLabels(pool, {
          label: name,
          table: base,
          inner: options.inner === true,
          count: options.count === true,
          ...(options.on !== undefined && { column: options.on }),
          ...(options.columns !== undefined && {
            columns: options.columns.split(',').map((column) => column.trim()),
          }),
          ...(options.prefix !== undefined && { prefix: options.prefix }),
        }),
      );
      const counted =
        joined.unmatched === null || joined.rows === null
          ? ''
          : `; ${joined.unmatched.toLocaleString('en')} of ${joined.rows.toLocaleString('en')} rows have no label`;
      printResult(
        options.json === true,
        joined,
        `${joined.view} has ${joined.columns.join(', ') || 'no further column'}${counted}`,
      );
    });

/** The table that the options name, by itself or by its stream. */
const tableOf = (config: Config, { stream, table: named }: JoinOptions): string => {
  if ((stream === undefined) === (named === undefined)) {
    throw new WarehouseError('usage', 'a join needs one table', {
      remedy: 'Say either --stream or --table.',
    });
  }
  if (stream === undefined) return named ?? '';
  const settings = config.streams[stream];
  if (settings === undefined) {
    throw new WarehouseError('usage', `there is no stream ${stream}`, {
      remedy: `The configuration has ${Object.keys(config.streams).join(', ') || 'none'}; or name the table with --table.`,
    });
  }
  if (settings.load === 'rows') return settings.table;
  return settings.load === 'transfers' ? 'strata.balance_changes' : 'strata.account_balances';
};
