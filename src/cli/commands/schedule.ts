/** `pgstrata schedule`: maintenance by the clock, one leader among any number of processes. */
import { Command } from 'commander';
import type { Logger } from '../../runtime/log.ts';
import { createLogger } from '../../runtime/log.ts';
import { nextDue, previousDue } from '../../jobs/scheduler/cron.ts';
import { scheduleOf, type Schedule } from '../../jobs/scheduler/settings.ts';
import { startScheduler, type SchedulerEvent } from '../../jobs/scheduler/scheduler.ts';
import { hasFailed } from '../../jobs/maintenance.ts';
import { VERB_NAMES } from '../../jobs/verbs.ts';
import type { Config } from '../../runtime/config.ts';
import { listenForStop } from '../../runtime/lifecycle.ts';
import { lastRuns, type LastRun } from '../../warehouse/partitions/runs.ts';
import { configOf, secretsOf, withDatabase, type GlobalOptions } from '../context.ts';
import { describeError, printResult, redact, table } from '../output.ts';
import { duration } from '../progress.ts';
import { MAINTENANCE_POOL } from './maintain.ts';

interface Options extends GlobalOptions {
  readonly dryRun?: boolean;
}

const HELP = `
Start as many as you like: one leads, another takes over when it dies. What was missed is made up for at the start.
SIGTERM or Ctrl-C stops within ten seconds. Times are UTC; pgstrata.yaml has them under \`schedule\`.

Environment:
  CONSOLIDATION_ENABLED            true or false
  CONSOLIDATION_SCHEDULE           cron expression (0 2 * * 0)
  CONSOLIDATION_THRESHOLD_MONTHS   for sets that have no consolidate_after
  PGSTRATA_LOG                     a failed run is an error line, the rest is at info

Example:
  pgstrata schedule --dry-run`;

/** The command. */
export const scheduleCommand = (): Command =>
  new Command('schedule')
    .description(
      'Run maintenance when it is due, until stopped: create ahead, consolidate, retain, optimize.',
    )
    .option('--dry-run', 'print what runs when, and start nothing')
    .addHelpText('after', HELP)
    .action(async (options: Options) => {
      const config = await configOf(options);
      const schedule = scheduleOf(config, process.env);
      await (options.dryRun === true ? showTimetable : run)(config, schedule, options.json === true);
    });

const run = async (config: Config, schedule: Schedule, json: boolean): Promise<void> => {
  const clean = (text: string): string => redact(text, secretsOf(config));
  const say = (text: string): void => {
    process.stderr.write(`${clean(text)}\n`);
  };
  const lifecycle = listenForStop((signal) =>
    say(`${signal}: stopping at a safe point (again to stop at once)`),
  );
  const tell = teller(say, createLogger(process.env), clean);
  try {
    const result = await withDatabase(
      config,
      (pool) =>
        startScheduler({
          pool,
          schedule,
          signal: lifecycle.signal,
          onEvent: tell,
          neverConsolidate: Object.entries(config.partitions).flatMap(([set, policy]) =>
            policy.consolidate_after === null ? [set] : [],
          ),
        }).done,
      { ...MAINTENANCE_POOL, pool: { ...MAINTENANCE_POOL.pool, applicationName: 'pgstrata schedule' } },
    );
    printResult(json, result, `stopped after ${result.runs} runs, ${result.failed} failed`);
  } finally {
    lifecycle.dispose();
  }
};

/** A line for people about each event, and the log for machines; a run that failed is an error there. */
const teller =
  (
    say: (text: string) => void,
    log: Logger,
    clean: (text: string) => string,
  ): ((event: SchedulerEvent) => void) =>
  (event) => {
    if (event.kind === 'ended') {
      const { verb, set, run } = event;
      const fields = { verb, set, run: run.run_id, outcome: run.outcome, seconds: run.seconds };
      if (hasFailed(run)) {
        log.error(
          { ...fields, error: clean(run.error?.message ?? ''), ...run.error?.detail },
          'maintenance failed',
        );
        say(`${verb} ${set}: ${run.outcome}\n${describeError(run.error)}`);
        return;
      }
      log.info(fields, 'maintenance ended');
      say(
        `${verb} ${set}: ${run.outcome}${run.outcome === 'done' ? `, ${run.plan?.steps.length ?? 0} steps in ${duration(run.seconds)}` : ''}`,
      );
    } else if (event.kind === 'lost') {
      log.error({ error: clean(event.error.message) }, 'leadership lost');
      say(`leadership is given up until the database answers: ${event.error.message}`);
    } else if (event.kind === 'leading')
      say(`leading: ${event.verbs.join(', ') || 'no verb is switched on'}`);
    else if (event.kind === 'waiting') say('waiting: another process leads');
    else if (event.kind === 'filled')
      say(`${event.sets.join(', ')}: consolidate_after was not set, and is now`);
    else if (event.kind === 'overlap') log.warn({ verb: event.verb }, 'due while still running');
    else if (event.kind === 'due') log.info({ verb: event.verb, due: event.due, sets: event.sets }, 'due');
  };

const showTimetable = async (config: Config, schedule: Schedule, json: boolean): Promise<void> => {
  const now = new Date();
  const last = await withDatabase(config, lastRuns);
  const verbs = VERB_NAMES.map((verb) => {
    const { enabled, cron, batch } = schedule.verbs[verb];
    return {
      verb,
      enabled,
      cron,
      batch,
      previous_due: previousDue(cron, now)?.toISOString() ?? null,
      next_due: nextDue(cron, now)?.toISOString() ?? null,
      last_runs: last.filter((one) => one.verb === verb),
    };
  });
  const text = table(
    ['verb', 'on', 'cron (UTC)', 'next', 'last runs'],
    verbs.map((one) => [
      one.verb,
      one.enabled ? 'yes' : 'no',
      one.cron,
      one.enabled ? minuteOf(one.next_due) : null,
      one.last_runs.map(runCell).join(', ') || null,
    ]),
  );
  printResult(json, { verbs }, text);
};

const runCell = ({ set, outcome, started_at }: LastRun): string =>
  `${set} ${outcome} ${minuteOf(started_at.toISOString())}`;

const minuteOf = (iso: string | null): string | null => iso?.slice(0, 16).replace('T', ' ') ?? null;
