/** The generated sections of docs/sizing.md: measured rates, answers by arithmetic, answers of the simulation. Pure. */
import { markdownTable } from '../marked-sections.ts';
import { sizingOf, walBetweenCheckpoints, workersNeeded, type Sizing } from './closed-form.ts';
import { costOfRow, rowsPerWeek, WEEK_S, type Scenario } from './demand.ts';
import type { Rates } from './rates.ts';
import { BILLIONS, citusOf, HUNDREDFOLD, MACHINES, POLICY, scenariosOf } from './scenarios.ts';
import { simulate, type Outcome } from './simulate.ts';

/** Weeks that a simulation runs: until the oldest balances have been dropped for a while. */
export const SIMULATED_WEEKS = 112;
/** A Thursday noon, when everything has come to rest: the worker is lost then. */
const LOST_AT = 108 * 168 + 108;

/** 1234567 → 1.23 million: three digits are more than such figures bear. */
export const count = (value: number): string => {
  for (const [size, name] of [
    [1e9, ' billion'],
    [1e6, ' million'],
  ] as const)
    if (value >= size) return `${Number((value / size).toPrecision(3))}${name}`;
  return value >= 100
    ? Math.round(Number(value.toPrecision(3))).toLocaleString('en')
    : String(Number(value.toPrecision(2)));
};

/** Bytes in the unit that suits them. */
export const bytes = (value: number): string => {
  for (const [size, unit] of [
    [1e15, 'PB'],
    [1e12, 'TB'],
    [1e9, 'GB'],
    [1e6, 'MB'],
  ] as const)
    if (value >= size) return `${Number((value / size).toPrecision(3))} ${unit}`;
  return `${Number(value.toPrecision(3))} B`;
};

/** Hours, or minutes where these say more. */
export const hours = (value: number): string =>
  value < 1.5
    ? `${Math.round(value * 60)} min`
    : value > 72
      ? `${Number((value / 24).toPrecision(2))} days`
      : `${Number(value.toPrecision(2))} h`;

const percent = (share: number): string =>
  `${share < 0.1 ? Number((share * 100).toPrecision(1)) : Math.round(share * 100)} %`;

/** Every section, by the name of its marks. */
export const sections = (rates: Rates): Readonly<Record<string, string>> => ({
  rates: ratesSection(rates),
  answers: answersSection(rates),
  limits: limitsSection(rates),
  checkpoints: checkpointsSection(rates),
  simulation: simulationSection(rates),
  fewer: fewerSection(rates),
});

const ratesSection = (rates: Rates): string => {
  const { bytes: row, cpu_s_per_million: cpu, wal_bytes: wal } = rates;
  const perCore = (seconds: number | null): string => (seconds === null ? '–' : count(1e6 / seconds));
  const sizes = (['changes', 'balances', 'state'] as const).map((table) => [
    { changes: '`balance_changes`', balances: '`account_balances`', state: '`account_balances_current`' }[
      table
    ],
    ...[row[table].heap, row[table].key, row[table].heap + row[table].key].map(
      (size) => `${Math.round(size)} B`,
    ),
    table === 'state' ? '–' : `${Math.round(row[table].consolidated)} B`,
    row[table].columnar === null ? '–' : `${Math.round(row[table].columnar)} B`,
  ]);
  return [
    markdownTable(['of each row', 'heap', 'key', 'both', 'consolidated', 'columnar (Citus)'], sizes),
    '',
    markdownTable(
      ['step', 'rows/s of one core', 'WAL of a row'],
      [
        ['loader: Flight, decoding, sorting, COPY frames', perCore(cpu.loader), '–'],
        ['COPY of changes, key live', perCore(cpu.copy), bytes(wal.copy)],
        ['live fold, a batch at a time', perCore(cpu.fold), bytes(wal.fold)],
        ['bulk: COPY without a key, then the key', perCore(cpu.copy_bulk), '–'],
        ['bulk: fold of a whole week', perCore(cpu.fold_bulk), '–'],
        ['VACUUM FREEZE of a closed week', perCore(cpu.freeze), bytes(wal.freeze)],
        ['consolidation: copy, key, freeze, proof', perCore(cpu.consolidate), bytes(wal.consolidate)],
        ['Citus: coordinator passes a COPY on', perCore(cpu.coordinator), '–'],
        ['Citus: a week turns columnar', perCore(cpu.columnar), '–'],
      ],
    ),
    '',
    `Images of whole pages after a checkpoint: ${rates.wal_bytes.images_per_change} a change, ${bytes(rates.wal_bytes.image)} each (pglz). Locks of a leaf: ${rates.locks_per_leaf}. Consolidation: ${bytes(((row.changes.heap + row.changes.key) * 1e6) / cpu.consolidate)}/s of one core. PostgreSQL ${rates.postgres}${rates.citus === null ? '' : `, Citus ${rates.citus}`}; ${rates.measured_on}.`,
  ].join('\n');
};

const ANSWERS: readonly (readonly [string, (sizing: Sizing, scenario: Scenario) => string])[] = [
  [
    'rows a second: mean, busiest hour',
    ({ rows_per_s, peak_rows_per_s }) => `${count(rows_per_s)}, ${count(peak_rows_per_s)}`,
  ],
  ['machine of each worker', (_, { cluster }) => cluster.machine.name],
  ['**workers**, and as many standbys', (_, { cluster }) => `**${cluster.workers.toLocaleString('en')}**`],
  ['shards (single: `modulus`)', (_, { cluster }) => cluster.shards.toLocaleString('en')],
  ['a leaf: one week of changes in one shard', ({ leaf_bytes }) => bytes(leaf_bytes)],
  ['memory that the present week wants, a worker', ({ memory_bytes }) => bytes(memory_bytes)],
  ['disk, the fullest worker', ({ worker_disk_bytes }) => bytes(worker_disk_bytes)],
  ['disk, all workers', ({ total_disk_bytes }) => bytes(total_disk_bytes)],
  ['saved by settled weeks', ({ settled_share }) => percent(settled_share)],
  ['WAL a day, all workers', ({ wal_bytes_day }) => bytes(wal_bytes_day)],
  ['`max_wal_size` of a worker', ({ max_wal_bytes }) => bytes(max_wal_bytes)],
  ['locks of one query without bounds, on a worker', ({ locks_per_query }) => count(locks_per_query)],
  [
    '`max_locks_per_transaction` for eight of them',
    ({ max_locks_per_transaction }) => count(max_locks_per_transaction),
  ],
  ['tables and indexes on a worker', ({ relations }) => count(relations)],
  ['streams that load at once, in the busiest hour', ({ loaders }) => count(loaders)],
  [
    'cores of the coordinator for COPY, in the busiest hour',
    ({ coordinator_cores }) => (coordinator_cores === 0 ? '–' : count(coordinator_cores)),
  ],
  ['to settle a week of one table, four cores a worker', ({ settle_hours }) => hours(settle_hours)],
  ['to back up everything', ({ backup_hours }) => hours(backup_hours)],
  ['to load a week of history in bulk', ({ load_history_week_hours }) => hours(load_history_week_hours)],
  ['to copy a lost worker anew, at full speed', ({ replicate_hours }) => hours(replicate_hours)],
];

const answersSection = (rates: Rates): string => {
  const scenarios = [...scenariosOf(rates)].map(([name, scenario]) => ({
    name,
    scenario,
    sizing: sizingOf(rates, scenario),
  }));
  return markdownTable(
    ['', ...scenarios.map(({ name }) => name)],
    ANSWERS.map(([what, say]) => [what, ...scenarios.map(({ sizing, scenario }) => say(sizing, scenario))]),
  );
};

const limitsSection = (rates: Rates): string =>
  markdownTable(
    ['workload', 'machine', 'memory', 'cores', 'disk', 'bandwidth'],
    [BILLIONS, HUNDREDFOLD].flatMap((workload) =>
      Object.values(MACHINES).map((machine) => {
        const { memory, cores, disk, bandwidth } = workersNeeded(rates, workload, machine, POLICY);
        return [
          workload.name,
          machine.name,
          ...[memory, cores, disk, bandwidth].map((workers) => workers.toLocaleString('en')),
        ];
      }),
    ),
  );

const CHECKPOINTS = [300, 1800, 3600, 4 * 3600, 12 * 3600];

const checkpointsSection = (rates: Rates): string => {
  const perSecond = rowsPerWeek(BILLIONS) / WEEK_S;
  return markdownTable(
    [
      '`checkpoint_timeout`',
      'WAL of a change',
      'WAL a day',
      '`max_wal_size`, all workers',
      'written a second, mean',
    ],
    CHECKPOINTS.map((checkpoint_s) => {
      const cost = costOfRow(rates, { ...POLICY, checkpoint_s }, 0);
      return [
        hours(checkpoint_s / 3600),
        bytes(cost.wal_bytes),
        bytes(perSecond * 86_400 * cost.wal_bytes),
        bytes(walBetweenCheckpoints(perSecond, BILLIONS.peak, checkpoint_s, cost.wal_bytes)),
        bytes(perSecond * cost.write_bytes),
      ];
    }),
  );
};

const OUTCOME_HEADS = [
  'workers',
  'keeps up',
  'rows wait, at most',
  'a week settles in',
  'disk, high-water mark',
  'cores, mean and most',
  'bandwidth: mean, most of ingest',
];

const outcomeCells = ({ cluster }: Scenario, outcome: Outcome): string[] => [
  cluster.workers.toLocaleString('en'),
  outcome.fails === null ? 'yes' : `**no**: ${outcome.fails}`,
  hours(outcome.lag_hours_max),
  hours(outcome.settle_hours_max),
  `${bytes(outcome.disk_high_water)} of ${bytes(cluster.machine.disk_bytes)}`,
  `${percent(outcome.cpu_mean)}, ${percent(outcome.cpu_max)}`,
  `${percent(outcome.bandwidth_mean)}, ${percent(outcome.ingest_bandwidth_max)}`,
];

const simulationSection = (rates: Rates): string => {
  const runs = [...scenariosOf(rates)].map(([name, scenario]) => ({
    name,
    scenario,
    outcome: simulate(rates, scenario, { weeks: SIMULATED_WEEKS, lost_at: LOST_AT }),
  }));
  return [
    markdownTable(
      ['', ...OUTCOME_HEADS],
      runs.map(({ name, scenario, outcome }) => [name, ...outcomeCells(scenario, outcome)]),
    ),
    '',
    markdownTable(
      [
        'a worker is lost',
        'a standby again after',
        'rows a second meanwhile, at least',
        'rows wait, at most',
      ],
      runs.map(({ name, outcome: { lost } }) => [
        name,
        hours(lost?.replicate_hours ?? 0),
        count(lost?.rows_per_s ?? 0),
        hours(lost?.lag_hours ?? 0),
      ]),
    ),
  ].join('\n');
};

const FEWER = [1, 2, 3, 4, 6, 8];

const fewerSection = (rates: Rates): string =>
  markdownTable(
    OUTCOME_HEADS,
    FEWER.map((workers) => {
      const scenario: Scenario = {
        workload: BILLIONS,
        policy: POLICY,
        cluster: citusOf(workers, MACHINES.medium),
      };
      return outcomeCells(scenario, simulate(rates, scenario, { weeks: SIMULATED_WEEKS, lost_at: null }));
    }),
  );
