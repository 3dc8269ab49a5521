/** `pgstrata maintain`: one verb of maintenance over the managed sets, planned, shown, applied. */
import { Command } from 'commander';
import { hasFailed, planMaintenance, runMaintenance, type MaintenanceEvent } from '../../jobs/maintenance.ts';
import { MAINTENANCE_VERBS, VERB_NAMES, type MaintenanceVerb } from '../../jobs/verbs.ts';
import { WarehouseError } from '../../runtime/errors.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { nearest } from '../../runtime/nearest.ts';
import { configOf, secretsOf, withDatabase, type GlobalOptions } from '../context.ts';
import { EXIT_FAILED, printResult, redact } from '../output.ts';
import { failuresText, plansAsJson, plansText, runAsJson, runsText } from '../plan-text.ts';
import { createProgress, type Progress } from '../progress.ts';
import { weeksOf, type WeekOptions } from '../weeks-option.ts';

interface Options extends GlobalOptions, WeekOptions {
  readonly set?: readonly string[];
  readonly dryRun?: boolean;
  readonly sql?: boolean;
}

/** The set's lock, the journal's row, and a few for what works in parallel. */
export const MAINTENANCE_POOL = {
  maxConnections: 12,
  // Nothing replays maintenance: what it says is done is on disk.
  pool: { applicationName: 'pgstrata maintain', synchronousCommit: 'on' },
} as const;

const HELP = `
Verbs:
  ensure        make the weeks that are missing, from the present one to premake ahead
  consolidate   merge the hash partitions of old weeks, on-line
  retain        take weeks out that are older than retain, and hold them
  drop          drop what was held long enough
  optimize      analyze parents, vacuum closed weeks

Every set fails alone. Ctrl-C finishes or takes back the step in hand. Exits 0 when done or when there was nothing to do,
1 when a set failed, 2 for misuse.

Example:
  pgstrata maintain ensure --dry-run
  pgstrata maintain consolidate --set balance_changes --week 2026-01-04`;

/** The command. */
export const maintainCommand = (): Command =>
  new Command('maintain')
    .description(
      'Maintain the partitions of the managed sets: ensure, consolidate, retain, drop or optimize.',
    )
    .argument('<verb>', VERB_NAMES.join(', '))
    .option('--set <name...>', 'only these sets; default all')
    .option('--week <day...>', 'only the weeks of these days, such as 2026-01-04')
    .option('--from <day>', 'only the weeks from this day on …')
    .option('--to <day>', '… to this one')
    .option('--dry-run', 'print the plan and change nothing')
    .option('--sql', 'with --dry-run: print each SQL statement too')
    .addHelpText('after', HELP)
    .action(async (word: string, options: Options) => {
      const verb = verbOf(word);
      const weeks = weeksOf(options);
      if (weeks.weeks !== undefined && MAINTENANCE_VERBS[verb]?.takesWeeks !== true) {
        throw new WarehouseError('usage', `${verb} does not go by weeks`, {
          remedy: 'Leave out --week, --from and --to: it goes by the policy of each set.',
        });
      }
      await (options.dryRun === true ? showPlan : apply)(verb, options, weeks);
    });

const verbOf = (word: string): MaintenanceVerb => {
  const verb = VERB_NAMES.find((name) => name === word);
  if (verb !== undefined) return verb;
  const near = nearest(word, VERB_NAMES);
  throw new WarehouseError('usage', `there is no verb ${JSON.stringify(word)}`, {
    remedy: `${near === undefined ? '' : `Did you mean ${near}? `}The verbs are ${VERB_NAMES.join(', ')}.`,
  });
};

type Weeks = ReturnType<typeof weeksOf>;

const showPlan = async (verb: MaintenanceVerb, options: Options, weeks: Weeks): Promise<void> => {
  const config = await configOf(options);
  const secrets = secretsOf(config);
  const plans = await withDatabase(
    config,
    (pool) =>
      planMaintenance({ pool, verb, now: new Date(), ...weeks, ...(options.set && { sets: options.set }) }),
    MAINTENANCE_POOL,
  );
  printResult(
    options.json === true,
    { verb, plans: plansAsJson(plans, secrets) },
    redact(plansText(plans, options.sql === true), secrets),
  );
  if (plans.some((plan) => 'error' in plan)) process.exitCode = EXIT_FAILED;
};

const apply = async (verb: MaintenanceVerb, options: Options, weeks: Weeks): Promise<void> => {
  const config = await configOf(options);
  const secrets = secretsOf(config);
  const progress = createProgress(process.stderr, Date.now);
  const lifecycle = listenForStop((signal) =>
    progress.say(`${signal}: stopping at a safe point (again to stop at once)`),
  );
  try {
    const runs = await withDatabase(
      config,
      (pool) =>
        runMaintenance({
          pool,
          verb,
          now: new Date(),
          signal: lifecycle.signal,
          askedBy: 'command',
          onEvent: showSteps(progress),
          ...weeks,
          ...(options.set && { sets: options.set }),
        }),
      MAINTENANCE_POOL,
    );
    progress.finish();
    printResult(
      options.json === true,
      { verb, sets: runs.map((run) => runAsJson(run, secrets)) },
      runsText(runs),
    );
    if (!runs.some(hasFailed)) return;
    if (options.json !== true) process.stderr.write(`${redact(failuresText(runs), secrets)}\n`);
    process.exitCode = EXIT_FAILED;
  } finally {
    progress.finish();
    lifecycle.dispose();
  }
};

/** A verb's own events are its own; those that name a step of the plan move the bar. */
export const showSteps = (progress: Progress): ((event: MaintenanceEvent) => void) => {
  let steps: readonly string[] = [];
  return (event) => {
    if (event.kind === 'planned') steps = event.plan.steps.map(({ name }) => name);
    if (event.kind !== 'progress' || !('step' in event.event)) return;
    const at = steps.indexOf(String(event.event.step)) + 1;
    if (at === 0) return;
    const label = `${event.verb} ${event.set}`;
    progress.update({ label, unit: 'step', done: at, total: steps.length, rows: null });
  };
};
