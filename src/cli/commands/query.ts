/** `pgstrata query`: asks a named question, streams the answer, or says which partitions it read. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setFlagsFromString } from 'node:v8';
import { Command, Option } from 'commander';
import { WarehouseError } from '../../runtime/errors.ts';
import { accountDoubt } from '../../warehouse/account.ts';
import { QUERIES, QUERY_NAMES, type QueryName } from '../../warehouse/analytics/catalogue.ts';
import { findQuery, readParameters } from '../../warehouse/analytics/parameters.ts';
import type { AnalyticsQuery, Parameter, ParametersOf } from '../../warehouse/analytics/query.ts';
import { explainQuery, runQuery } from '../../warehouse/analytics/run.ts';
import { touchedInWords } from '../../warehouse/analytics/touched.ts';
import { askedInWords } from '../../warehouse/analytics/touched-shards.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { printResult, table } from '../output.ts';
import { FORMATS, WRITERS, type Format } from '../result-formats.ts';

interface Options extends GlobalOptions, Readonly<Record<string, unknown>> {
  readonly format: Format;
  readonly explain?: boolean;
  readonly list?: boolean;
  readonly timeout: string;
}

type AnyParameters = ParametersOf<(typeof QUERIES)[QueryName]>;

/** Parameters of all queries, by name: each is an option. */
const PARAMETERS: ReadonlyMap<string, Parameter> = new Map(
  Object.values<AnalyticsQuery>(QUERIES)
    .flatMap(({ parameters }) => parameters)
    .map((parameter) => [parameter.name, parameter] as const)
    .toReversed(),
);

const HELP = `
Which query takes what, and what it gives: pgstrata query --list, or --list behind the name of a query.

It reads in one read-only transaction, as strata_reader where that role is granted to you. Rows are streamed, however many.
Instants without a zone are UTC. Addresses are text. Numbers are exact; in json and arrow they are texts, for they may be larger than
any number of these.

Example:
  pgstrata query top-holders --asset USDX --at 2026-02-01 --limit 5
  pgstrata query balances --format arrow > balances.arrow
  pgstrata query history --account 0x418de5c2e64f34d612001ab9deffd8ec7d569c79 --asset USDX --from 2026-01-01 --explain`;

/** The command. */
export const queryCommand = (): Command => {
  const command = new Command('query')
    .description(
      'Ask a named question: balances as of a time, holders, concentration, flows, supply, points.',
    )
    .argument('[name]', 'name of the query')
    .option('--list', 'show the queries, or with a name what it takes and gives')
    .addOption(new Option('--format <format>', FORMATS.join(', ')).choices(FORMATS).default('table'))
    .option(
      '--explain',
      'run it, and instead of its rows say which partitions were read and which were pruned',
    )
    .option('--timeout <seconds>', 'longest time it may take', '60');
  for (const [name, { doc, type }] of [...PARAMETERS].toSorted(([a], [b]) => a.localeCompare(b)))
    command.option(`--${name} <${type}>`, doc);
  return command
    .addHelpText('after', HELP)
    .action((name: string | undefined, options: Options) => run(name, options));
};

const run = async (word: string | undefined, options: Options): Promise<void> => {
  if (word === undefined) {
    if (options.list === true) return printResult(options.json === true, QUERIES, catalogueText());
    throw new WarehouseError('usage', 'no query was named', {
      remedy: 'Take one of those that `pgstrata query --list` shows.',
    });
  }
  const name = findQuery(word);
  if (options.list === true) return printResult(options.json === true, QUERIES[name], queryText(name));
  const parameters = readParameters(name, givenOf(options));
  const doubt = typeof options['account'] === 'string' ? accountDoubt(options['account']) : null;
  if (doubt !== null) process.stderr.write(`is the account whole? ${doubt}\n`);
  const limits = { timeoutMs: timeoutOf(options.timeout) };
  await withDatabase(
    await configOf(options),
    (pool) =>
      options.explain === true
        ? explainQuery(pool, name, parameters as AnyParameters, limits).then((explained) =>
            printResult(
              options.json === true,
              explained,
              [
                `${name}: ${explained.rows.toLocaleString('en')} rows in ${Math.round(explained.milliseconds).toLocaleString('en')} ms`,
                ...(explained.shards === null ? [] : [askedInWords(explained.shards)]),
                ...touchedInWords(explained.partitions),
              ].join('\n'),
            ),
          )
        : print(
            name,
            runQuery(pool, name, parameters as AnyParameters, limits),
            options.json === true ? 'json' : options.format,
          ),
    { maxConnections: 2, pool: { applicationName: 'pgstrata query' } },
  );
};

/** What was given on the command line, by the names of parameters. */
const givenOf = (options: Options): Readonly<Record<string, string>> =>
  Object.fromEntries(
    [...PARAMETERS.keys()].flatMap((name) => {
      const value = options[name.replaceAll(/-(\w)/g, (_dash, letter: string) => letter.toUpperCase())];
      return typeof value === 'string' ? [[name, value]] : [];
    }),
  );

const timeoutOf = (text: string): number => {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 86_400))
    throw new WarehouseError('usage', `--timeout is ${JSON.stringify(text)}, not a number of seconds`, {
      remedy: 'Give seconds, at most 86400.',
    });
  return Math.ceil(seconds * 1000);
};

/**
 * Rows live for a moment: young memory that may not grow is cleared more often and stays small (ten million rows as CSV in 172 MB
 * instead of 217).
 */
const keepSmall = (): void => setFlagsFromString('--semi-space-growth-factor=1');

/** Writes as fast as whoever reads our stdout; one that has read enough (`| head`) is no failure. */
const print = async (
  name: QueryName,
  rows: AsyncIterable<Readonly<Record<string, unknown>>>,
  format: Format,
): Promise<void> => {
  const { columns }: AnalyticsQuery = QUERIES[name];
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  keepSmall();
  try {
    await pipeline(
      Readable.from(WRITERS[format](columns, rows, say), { objectMode: false }),
      process.stdout,
      { end: false },
    );
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EPIPE') throw thrown;
  }
};

const usageOf = ({ name, type, preset }: Parameter): string =>
  preset === undefined ? `--${name} <${type}>` : `[--${name} <${type}>]`;

const catalogueText = (): string =>
  QUERY_NAMES.map((name) => {
    const { doc, parameters }: AnalyticsQuery = QUERIES[name];
    return `${name} ${parameters.map(usageOf).join(' ')}\n    ${doc}`;
  }).join('\n');

const queryText = (name: QueryName): string => {
  const { doc, parameters, columns, example, function: called }: AnalyticsQuery = QUERIES[name];
  return [
    doc,
    '',
    table(
      ['parameter', 'type', 'default', ''],
      parameters.map((parameter) => [
        `--${parameter.name}`,
        parameter.type,
        parameter.preset ?? null,
        parameter.doc,
      ]),
    ),
    '',
    table(
      ['column', 'type', ''],
      columns.map((column) => [column.name, column.type, column.doc]),
    ),
    '',
    `example: pgstrata query ${name} ${example}`,
    `in SQL: strata.${called}()`,
  ].join('\n');
};
