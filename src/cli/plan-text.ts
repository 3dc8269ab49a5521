/** Plans and runs of maintenance as people read them. */
import { hasFailed, type SetPlan, type SetRun } from '../jobs/maintenance.ts';
import type { Plan, Step, StepLock } from '../warehouse/partitions/plan.ts';
import { describeError, errorAsJson, redactRecord, table } from './output.ts';
import { duration } from './progress.ts';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes as people say them: `812 B`, `1.4 GB`. */
export const byteSize = (bytes: number): string => {
  const power = Math.min(UNITS.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[power]}`;
};

const lockText = ({ relation, mode, held }: StepLock): string =>
  `${mode} on ${relation} ${held === 'moment' ? 'for a moment' : 'for the whole step'}`;

const stepText = (step: Step, index: number, withSql: boolean): string => {
  const amounts = [
    ...(step.rows === null ? [] : [`${step.rows.toLocaleString('en')} rows`]),
    ...(step.bytes === null ? [] : [byteSize(step.bytes)]),
  ];
  return [
    `${String(index + 1).padStart(4)}. ${[step.name, ...amounts].join(', ')}`,
    `      why: ${step.why}`,
    ...step.locks.map((lock) => `      lock: ${lockText(lock)}`),
    ...(withSql
      ? step.sql.map((statement) => `      sql: ${statement.replaceAll('\n', '\n           ')}`)
      : []),
  ].join('\n');
};

/** A whole plan: its steps, then what else there is to know. */
export const planText = (plan: Plan, withSql: boolean): string =>
  [
    `${plan.verb} ${plan.set}: ${plan.steps.length === 0 ? 'nothing to do' : plan.steps.length === 1 ? '1 step' : `${plan.steps.length} steps`}`,
    ...plan.steps.map((step, index) => stepText(step, index, withSql)),
    ...plan.notes.map((note) => `  note: ${note}`),
  ].join('\n');

/** The plans of several sets; one that could not be made says why. */
export const plansText = (plans: readonly SetPlan[], withSql: boolean): string =>
  plans
    .map((one) => ('plan' in one ? planText(one.plan, withSql) : `${one.set}: ${describeError(one.error)}`))
    .join('\n\n');

/** The same for scripts. */
export const plansAsJson = (plans: readonly SetPlan[], secrets: readonly string[]): readonly object[] =>
  plans.map((one) =>
    'plan' in one ? one.plan : { set: one.set, ...redactRecord(errorAsJson(one.error), secrets) },
  );

/** What became of each set, a line each, then the notes. */
export const runsText = (runs: readonly SetRun[]): string =>
  [
    table(
      ['set', 'outcome', 'steps', 'time', 'run'],
      runs.map((run) => [
        run.set,
        run.outcome,
        run.plan?.steps.length ?? null,
        duration(run.seconds),
        run.run_id,
      ]),
    ),
    ...runs.flatMap(({ plan, set }) => (plan?.notes ?? []).map((note) => `note: ${set}: ${note}`)),
  ].join('\n');

/** The errors of the runs that failed, for stderr. */
export const failuresText = (runs: readonly SetRun[]): string =>
  runs
    .filter(hasFailed)
    .map(({ set, error }) => `${set}: ${describeError(error)}`)
    .join('\n');

/** A run for scripts. */
export const runAsJson = ({ error, ...run }: SetRun, secrets: readonly string[]): object => ({
  ...run,
  ...(error === null ? {} : redactRecord(errorAsJson(error), secrets)),
});
