/** `pgstrata partitions`: the managed sets as they are, their weeks, and undo. */
import { Command } from 'commander';
import type { Pool } from '../../db/query.ts';
import { chooseSets, hasFailed } from '../../jobs/maintenance.ts';
import { planUndo, undoWeek } from '../../jobs/undo.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { nearest } from '../../runtime/nearest.ts';
import { readOverview, type SetOverview } from '../../warehouse/partitions/overview.ts';
import { readWeeks, type WeekInfo } from '../../warehouse/partitions/weeks.ts';
import { adoptCommand } from './adopt.ts';
import { configOf, secretsOf, withDatabase, type GlobalOptions } from '../context.ts';
import { EXIT_FAILED, printResult, redact, table } from '../output.ts';
import { byteSize, failuresText, planText, runAsJson, runsText } from '../plan-text.ts';
import { createProgress } from '../progress.ts';
import { dayOf } from '../weeks-option.ts';
import { MAINTENANCE_POOL, showSteps } from './maintain.ts';

interface Options extends GlobalOptions {
  readonly dryRun?: boolean;
  readonly sql?: boolean;
}

const ACTIONS = ['status', 'info', 'undo'] as const;

const HELP = `
Actions:
  status [set]      one line per set: weeks, how far ahead they reach, size, what is held (the default)
  info [set]        one line per week: bounds, kind, rows, size, share of pages known to be all-visible
  undo <set> <day>  take back what maintenance did last to the week of that day, without losing a row

Example:
  pgstrata partitions info balance_changes
  pgstrata partitions undo balance_changes 2026-01-04 --dry-run`;

/** The command. */
export const partitionsCommand = (): Command =>
  new Command('partitions')
    .description('Show the managed sets and their weeks; take back what maintenance did to one.')
    .argument('[action]', `${ACTIONS.join(', ')}; default status`)
    .argument('[set]', 'a managed set')
    .argument('[day]', 'any day of the week, such as 2026-01-04')
    .option('--dry-run', 'undo: print the plan and change nothing')
    .option('--sql', 'with --dry-run: print each SQL statement too')
    .addHelpText('after', HELP)
    .addCommand(adoptCommand())
    .action(
      async (
        word: string | undefined,
        set: string | undefined,
        day: string | undefined,
        options: Options,
      ) => {
        const action = actionOf(word ?? 'status');
        if (action === 'undo') return undo(set, day, options);
        if (day !== undefined) throw new WarehouseError('usage', `partitions ${action} takes no day`);
        const asked = set === undefined ? [] : [set];
        return withDatabase(await configOf(options), async (pool) =>
          action === 'status' ? showStatus(pool, asked, options) : showInfo(pool, asked, options),
        );
      },
    );

const actionOf = (word: string): (typeof ACTIONS)[number] => {
  const action = ACTIONS.find((name) => name === word);
  if (action !== undefined) return action;
  const near = nearest(word, ACTIONS);
  throw new WarehouseError('usage', `partitions has no action ${JSON.stringify(word)}`, {
    remedy: `${near === undefined ? '' : `Did you mean ${near}? `}The actions are ${ACTIONS.join(', ')}.`,
  });
};

const showStatus = async (pool: Pool, asked: readonly string[], options: Options): Promise<void> => {
  const sets = await readOverview(pool, await chooseSets(pool, asked), new Date());
  printResult(options.json === true, { sets }, statusText(sets));
};

const statusText = (sets: readonly SetOverview[]): string =>
  table(
    ['set', 'weeks', 'of which', 'leaves', 'weeks ahead', 'size', 'held'],
    sets.map((one) => [
      one.set,
      one.weeks,
      Object.entries(one.kinds)
        .map(([kind, count]) => `${count} ${kind}`)
        .join(', ') || null,
      one.leaves,
      one.runway_weeks,
      byteSize(one.bytes),
      one.held === 0 ? '–' : `${one.held} (${byteSize(one.held_bytes)})`,
    ]),
  );

const showInfo = async (pool: Pool, asked: readonly string[], options: Options): Promise<void> => {
  const sets: { set: string; weeks: readonly WeekInfo[] }[] = [];
  for (const set of await chooseSets(pool, asked)) sets.push({ set, weeks: await readWeeks(pool, set) });
  const json = sets.map(({ set, weeks }) => ({
    set,
    weeks: weeks.map(({ oid: _oid, ...week }) => ({ ...week, all_visible: visibleShare(week) })),
  }));
  printResult(options.json === true, { sets: json }, sets.map(infoText).join('\n\n'));
};

const visibleShare = ({ pages, visible_pages }: Pick<WeekInfo, 'pages' | 'visible_pages'>): number | null =>
  pages === 0 ? null : visible_pages / pages;

const infoText = ({ set, weeks }: { readonly set: string; readonly weeks: readonly WeekInfo[] }): string =>
  weeks.length === 0
    ? `${set} has no weeks yet: \`pgstrata maintain ensure --set ${set}\` makes them`
    : `${set}\n${table(
        ['partition', 'from', 'to', 'kind', 'leaves', 'rows', 'heap', 'indexes', 'all visible'],
        weeks.map((week) => {
          const share = visibleShare(week);
          return [
            week.name,
            instantCell(week.lower),
            instantCell(week.upper),
            week.detach_pending ? `${week.kind}, detach interrupted` : week.kind,
            week.leaves,
            week.rows,
            byteSize(week.heap_bytes),
            byteSize(week.index_bytes),
            share === null ? null : `${Math.floor(share * 100)} %`,
          ];
        }),
      )}`;

/** A day, with the time only where it is not midnight. */
const instantCell = (instant: Date | null): string | null =>
  instant?.toISOString().replace('T00:00:00.000Z', '') ?? null;

const undo = async (set: string | undefined, day: string | undefined, options: Options): Promise<void> => {
  if (set === undefined || day === undefined) {
    throw new WarehouseError('usage', 'undo needs a set and a day of the week', {
      remedy: 'For example: pgstrata partitions undo balance_changes 2026-01-04 --dry-run',
    });
  }
  const week = dayOf('the day', day);
  const config = await configOf(options);
  const progress = createProgress(process.stderr, Date.now);
  const lifecycle = listenForStop((signal) =>
    progress.say(`${signal}: stopping at a safe point (again to stop at once)`),
  );
  try {
    await withDatabase(
      config,
      async (pool) => {
        const scope = { pool, set, week, now: new Date() };
        if (options.dryRun === true) {
          const { of, plan } = await planUndo(scope);
          printResult(options.json === true, { undo_of: of, plan }, planText(plan, options.sql === true));
          return;
        }
        const run = await undoWeek({
          ...scope,
          signal: lifecycle.signal,
          askedBy: 'command',
          onEvent: showSteps(progress),
        });
        progress.finish();
        printResult(options.json === true, runAsJson(run, secretsOf(config)), runsText([run]));
        if (!hasFailed(run)) return;
        if (options.json !== true)
          process.stderr.write(`${redact(failuresText([run]), secretsOf(config))}\n`);
        process.exitCode = EXIT_FAILED;
      },
      MAINTENANCE_POOL,
    );
  } finally {
    progress.finish();
    lifecycle.dispose();
  }
};
