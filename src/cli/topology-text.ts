/** What `plan-topology` found, as people read it. */
import type { Limit } from '../warehouse/scaling/judge.ts';
import type { MigrationStep } from '../warehouse/scaling/migration-step.ts';
import type { TopologyPlan } from '../warehouse/scaling/read.ts';
import { table, type Cell } from './output.ts';
import { byteSize } from './plan-text.ts';

const SIGNS = { ok: '✓', warning: '!', fault: '✗' } as const;

/** The whole of it; the way to a cluster only where it is needed or asked for. */
export const topologyText = (plan: TopologyPlan, withSteps: boolean): string =>
  plan.topology === 'citus' ? clusterText(plan) : singleText(plan, withSteps);

const amount = (value: number | null, unit: Limit['unit']): Cell =>
  value === null
    ? null
    : unit === 'bytes'
      ? byteSize(value)
      : `${Math.round(value).toLocaleString('en')} ${unit}`;

const singleText = (plan: Extract<TopologyPlan, { topology: 'single' }>, withSteps: boolean): string => {
  const { growth, skew, limits, workers, shards } = plan;
  const needed = plan.verdict === 'several machines' || plan.verdict === 'soon several';
  return [
    plan.says,
    '',
    table(
      ['limit', 'wanted', 'usable', 'share', ''],
      limits.map(({ limit, wanted, usable, unit, share, says }) => [
        limit,
        amount(wanted, unit),
        amount(usable, unit),
        share === null ? null : `${Math.round(share * 100)} %`,
        says,
      ]),
      new Set(['wanted', 'usable', 'share']),
    ),
    '',
    `a week brings ${byteSize(growth.bytes_per_week)}${growth.rows_per_week === null ? '' : `, ${Math.round(growth.rows_per_week).toLocaleString('en')} rows`}`,
    ...(skew === null
      ? []
      : [
          `${skew.hot ? '! ' : ''}${skew.says} (${skew.sampled.toLocaleString('en')} rows of ${skew.week} sampled)`,
        ]),
    `a cluster that would do: ${workers} workers like this machine, as many standbys, ${shards} shards`,
    ...(needed || withSteps
      ? [
          '',
          'The way there, in bash; say first: set -euo pipefail; export SOURCE=postgres://… CLUSTER=postgres://… PGTZ=UTC',
          ...stepsText(plan.migration),
        ]
      : ['the way there: --steps']),
  ].join('\n');
};

const WHERE: Readonly<Record<MigrationStep['where'], string>> = {
  shell: '',
  source: ' (SQL, source)',
  cluster: ' (SQL, coordinator)',
  'each node': ' (SQL, each node)',
};

const stepsText = (steps: readonly MigrationStep[]): string[] =>
  steps.flatMap(({ title, where, run, locks, loading, verify }, index) => [
    '',
    `${index + 1}. ${title}${WHERE[where]}`,
    `   loading ${loading}; locks: ${locks}`,
    ...run.map((line) => `     ${line}${where === 'shell' || line.startsWith('--') ? '' : ';'}`),
    ...(verify === null
      ? []
      : [...verify.run.map((line) => `   check: ${line};`), `   expect: ${verify.expect}`]),
  ]);

const clusterText = ({
  citus,
  nodes,
  findings,
  statements,
}: Extract<TopologyPlan, { topology: 'citus' }>): string =>
  [
    `Citus ${citus}`,
    '',
    table(
      ['node', 'shards', 'bytes'],
      nodes.map(({ node, shards, bytes }) => [node, shards, byteSize(bytes)]),
      new Set(['bytes']),
    ),
    '',
    ...findings.map(
      ({ check, state, says, remedy }) =>
        `${SIGNS[state]} ${check}: ${says}${remedy === undefined ? '' : `\n    → ${remedy}`}`,
    ),
    ...statements.map((statement) => `     ${statement};`),
  ].join('\n');
