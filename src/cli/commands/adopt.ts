/** `pgstrata partitions adopt`: makes a managed set of a plain table while it is used, and a plain table of it again. */
import { Command, InvalidArgumentError } from 'commander';
import type { Pool } from '../../db/query.ts';
import type { AdoptRequest } from '../../warehouse/partitions/adopt/adoption.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { applyAdopt, type AdoptOptions, type AdoptResult } from '../../warehouse/partitions/adopt/apply.ts';
import { planAdopt } from '../../warehouse/partitions/adopt/plan.ts';
import { recoverAdoptions, type RecoveredAdoption } from '../../warehouse/partitions/adopt/recover.ts';
import { adoptedSet, applyUndoAdopt, planUndoAdopt } from '../../warehouse/partitions/adopt/undo.ts';
import type { Plan, Step } from '../../warehouse/partitions/plan.ts';
import { configOf, withDatabase, type GlobalOptions } from '../context.ts';
import { printResult } from '../output.ts';
import { createProgress } from '../progress.ts';

interface Options extends GlobalOptions {
  readonly time?: string;
  readonly hash?: string;
  readonly modulus?: number;
  readonly set?: string;
  readonly key?: readonly string[];
  readonly relaxUnique?: boolean;
  readonly undo?: boolean;
  readonly dryRun?: boolean;
  readonly sql?: boolean;
}

const HELP = `
Writers and readers go on; the table is locked for some milliseconds at the end. What it was is kept in
schema strata_held for 7 days, and until then --undo brings it back with all that was written since.

Example:
  pgstrata partitions adopt public.account_balances --time timestamp --hash account_address --dry-run
  pgstrata partitions adopt public.account_balances --undo`;

const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1024)
    throw new InvalidArgumentError('must be 1 to 1024.');
  return value;
};

/** The command. */
export const adoptCommand = (): Command =>
  new Command('adopt')
    .description('Turn a plain table into a managed set of weeks and hash partitions, on-line.')
    .argument('<table>', 'the table, with its schema where the name alone is not enough')
    .option('--time <column>', 'the timestamptz column that says which week a row belongs to')
    .option('--hash <column>', 'the column that spreads a week over its partitions, such as the account')
    .option('--modulus <n>', 'hash partitions per week; default 4', count)
    .option('--set <name>', 'name of the set and of its partitions; default the name of the table')
    .option('--key <columns>', 'columns that are unique together, where no index says so', (text: string) =>
      text.split(','),
    )
    .option('--relax-unique', 'make ordinary indexes of unique ones that partitions cannot keep')
    .option('--undo', 'make a plain table of it again')
    .option('--dry-run', 'print the plan and change nothing')
    .option('--sql', 'with --dry-run: print each SQL statement too')
    .addHelpText('after', HELP)
    .action(async (table: string, _own: Options, command: Command) =>
      run(table, command.optsWithGlobals<Options>(), command),
    );

const run = async (table: string, options: Options, command: Command): Promise<void> => {
  const { time, hash, modulus, set, key, relaxUnique } = options;
  if (options.undo !== true && (time === undefined || hash === undefined))
    return command.error('error: --time and --hash are needed to adopt a table', { exitCode: 2 });
  const request = {
    table,
    time: time ?? '',
    hash: hash ?? '',
    ...(modulus !== undefined && { modulus }),
    ...(set !== undefined && { set }),
    ...(key !== undefined && { key }),
    ...(relaxUnique !== undefined && { relaxUnique }),
  };
  const progress = createProgress(process.stderr, Date.now);
  const lifecycle = listenForStop((signal) =>
    progress.say(`${signal}: taking back what is not exchanged yet`),
  );
  const going: AdoptOptions = {
    signal: lifecycle.signal,
    onEvent: ({ kind, step }) => {
      if (kind === 'step') progress.say(step);
    },
  };
  try {
    await withDatabase(await configOf(options), async (pool) => {
      const recovered = options.dryRun === true ? [] : await recoverAdoptions(pool, going);
      for (const one of recovered) progress.say(recoveredText(one));
      if (recovered.some((one) => hasAnswered(one, request.table, options.undo === true))) {
        printResult(options.json === true, { recovered }, recovered.map(recoveredText).join('\n'));
        return;
      }
      if (options.undo === true) await undo(pool, set ?? (await adoptedSet(pool, table)), going, options);
      else await adopt(pool, request, going, options);
    });
  } finally {
    progress.finish();
    lifecycle.dispose();
  }
};

/** Whether ending what was broken off was all that is asked for. */
const hasAnswered = ({ table, outcome }: RecoveredAdoption, asked: string, undoing: boolean): boolean =>
  (table === asked || table.endsWith(`.${asked}`)) && outcome === (undoing ? 'undone' : 'adopted');

const recoveredText = ({ table, outcome, error }: RecoveredAdoption): string =>
  `an adoption of ${table} had been broken off: ${outcome}${error === null ? '' : ` (${error})`}`;

const adopt = async (
  pool: Pool,
  request: AdoptRequest,
  going: AdoptOptions,
  { json = false, dryRun = false, sql = false }: Options,
): Promise<void> => {
  const plan = await planAdopt(pool, request, { now: new Date() });
  if (dryRun) return printResult(json, { plan: publicPart(plan) }, planText(plan, sql));
  const result = await applyAdopt(pool, plan, going);
  printResult(json, { ...result, notes: plan.notes }, adoptedText(result, plan.notes));
};

const undo = async (
  pool: Pool,
  set: string,
  going: AdoptOptions,
  { json = false, dryRun = false, sql = false }: Options,
): Promise<void> => {
  const plan = await planUndoAdopt(pool, set);
  if (dryRun) return printResult(json, { plan: publicPart(plan) }, planText(plan, sql));
  const result = await applyUndoAdopt(pool, plan, going);
  printResult(json, result, `${result.table} is a plain table again`);
};

/** A plan without what apply alone needs. */
const publicPart = ({ verb, set, basis, steps, notes }: Plan): Plan => ({ verb, set, basis, steps, notes });

const stepText = ({ name, why, locks, sql }: Step, index: number, withSql: boolean): string =>
  [
    `${String(index + 1).padStart(4)}. ${name}`,
    `      why: ${why}`,
    ...locks.map(
      ({ relation, mode, held }) =>
        `      lock: ${mode} on ${relation} ${held === 'moment' ? 'for a moment' : 'for the whole step'}`,
    ),
    ...(withSql ? sql.map((statement) => `      sql: ${statement.replaceAll('\n', '\n           ')}`) : []),
  ].join('\n');

const planText = ({ verb, set, steps, notes }: Plan, withSql: boolean): string =>
  [`${verb} ${set}`, ...steps.map((step, index) => stepText(step, index, withSql)), ...notesText(notes)].join(
    '\n',
  );

const notesText = (notes: readonly string[]): readonly string[] => notes.map((note) => `note: ${note}`);

const adoptedText = ({ table, set, rows, locked_ms }: AdoptResult, notes: readonly string[]): string =>
  [
    `${table} is the managed set ${set}: ${rows.toLocaleString('en')} rows, locked for ${locked_ms.toFixed(0)} ms`,
    ...notesText(notes),
  ].join('\n');
