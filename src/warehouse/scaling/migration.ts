/** The way from one machine to a Citus cluster, step by step: what to run where, what it locks, how to see that it was right. Pure. */
import type { TableFacts, TopologyFacts } from './facts.ts';
import { ledgerSteps } from './migration-ledger.ts';
import { copyWhole, NOTHING, type MigrationStep } from './migration-step.ts';
import { closedWeeks, copyClosed, ensureStep, filled, openWeeks, recopySteps } from './migration-weeks.ts';

/** copy: rows go from one database to the other. replay: the Flight servers still have everything, and it is loaded again. */
export const WAYS = ['copy', 'replay'] as const;
export type Way = (typeof WAYS)[number];

/** What the plan is for. */
export interface Target {
  readonly way: Way;
  readonly workers: number;
  readonly shards: number;
  readonly now: Date;
}

/** The steps, in their order. */
export const planMigration = (facts: TopologyFacts, target: Target): readonly MigrationStep[] => [
  ...prepareSteps(target),
  ...(target.way === 'copy' ? copySteps(facts, target) : replaySteps()),
];

const prepareSteps = ({ workers, shards }: Target): MigrationStep[] => [
  {
    title: `start a coordinator and ${workers} workers`,
    where: 'each node',
    run: [
      "alter system set shared_preload_libraries = 'citus'",
      'alter system set max_prepared_transactions = 200',
      'alter system set max_locks_per_transaction = 512',
      'alter system set max_worker_processes = 32',
      "alter system set wal_level = 'logical'",
      '-- restart the node, then in the database:',
      'create extension if not exists citus',
    ],
    locks: NOTHING,
    loading: 'goes on',
    verify: { run: ['select citus_version()'], expect: 'the same on every node' },
  },
  {
    title: 'make them one cluster',
    where: 'cluster',
    run: [
      "select citus_set_coordinator_host('COORDINATOR', 5432)",
      ...Array.from(
        { length: Math.min(workers, 3) },
        (_unused, index) => `select citus_add_node('WORKER_${index + 1}', 5432)`,
      ),
      ...(workers > 3 ? [`-- and so on, to WORKER_${workers}`] : []),
    ],
    locks: NOTHING,
    loading: 'goes on',
    verify: {
      run: [
        "select nodename, nodeport, isactive, shouldhaveshards from pg_dist_node where noderole = 'primary' order by groupid",
      ],
      expect: `${workers} workers that are active and should have shards`,
    },
  },
  {
    title: `make the schema there, in ${shards} shards`,
    where: 'shell',
    run: [
      `DATABASE_URL="$CLUSTER" pgstrata migrate -c citus.yaml   # the policy file, with topology: citus and shards: ${shards}`,
    ],
    locks: NOTHING,
    loading: 'goes on',
    verify: {
      run: ["select count(*) from pg_dist_shard where logicalrelid = 'strata.balance_changes'::regclass"],
      expect: String(shards),
    },
  },
];

const replaySteps = (): MigrationStep[] => [
  {
    title: 'load everything again, beside the source',
    where: 'shell',
    run: ['DATABASE_URL="$CLUSTER" pgstrata ingest --workers auto --follow -c citus.yaml'],
    locks: NOTHING,
    loading: 'goes on',
    verify: {
      run: ['select stream, network, position, row_count from strata.stream_positions order by 1, 2'],
      expect: 'the position of the source, or a later one',
    },
  },
  ...closingSteps(),
];

const copySteps = (facts: TopologyFacts, { now }: Target): MigrationStep[] => {
  const sets = facts.sets.filter((set) => filled(set).length > 0);
  return [
    ...sets.map(ensureStep),
    copyWhole('copy what is named: assets, prices, accounts that nobody holds', DICTIONARIES, 'goes on'),
    ...(facts.labels.length === 0 ? [] : [labelsStep(facts.labels)]),
    ...sets
      .filter((set) => closedWeeks(set, now).length > 0)
      .map((set) => copyClosed(set, closedWeeks(set, now))),
    {
      title: 'fold what waits, then pause loading and maintenance',
      where: 'shell',
      run: [
        'pgstrata fold',
        '# stop `pgstrata ingest` and `pgstrata schedule`: SIGTERM ends them behind a whole commit; readers go on',
      ],
      locks: 'nothing; from here on the source does not change',
      loading: 'paused',
      verify: {
        run: ['select stream, network, position from strata.stream_positions order by 1, 2'],
        expect: 'the same twice: note it, here the cluster goes on',
      },
    },
    ...sets.flatMap((set) => recopySteps(set, openWeeks(set, now))),
    copyWhole('copy the state, and what retention carried forward', STATE, 'paused'),
    ...(facts.others.length === 0
      ? []
      : [copyWhole('copy the tables of other streams', facts.others, 'paused')]),
    ...ledgerSteps(),
    ...closingSteps(),
  ];
};

const ACCOUNT_BALANCE = ['account_address', 'asset_id', 'balance', '"timestamp"'];
const STATE: readonly TableFacts[] = ['account_balances_current', 'account_balances_opening'].map((name) => ({
  name,
  qualified: `strata.${name}`,
  columns: ACCOUNT_BALANCE,
}));
const DICTIONARIES: readonly Pick<TableFacts, 'name' | 'qualified'>[] = [
  'assets',
  'prices',
  'burn_accounts',
].map((name) => ({
  name,
  qualified: `strata.${name}`,
}));

const labelsStep = (labels: readonly string[]): MigrationStep => ({
  title: 'load the labels again, from their files',
  where: 'shell',
  run: labels.map((name) => `DATABASE_URL="$CLUSTER" pgstrata labels add ${name} ${name}.csv -c citus.yaml`),
  locks: NOTHING,
  loading: 'goes on',
  verify: {
    run: ['select label_name, row_count from strata.labels order by 1'],
    expect: 'the same on both sides',
  },
});

const closingSteps = (): MigrationStep[] => [
  {
    title: 'verify the balances of the cluster',
    where: 'shell',
    run: [
      'DATABASE_URL="$CLUSTER" pgstrata doctor -c citus.yaml',
      'DATABASE_URL="$CLUSTER" pgstrata verify --sample 1/64 -c citus.yaml',
    ],
    locks: NOTHING,
    loading: 'paused',
    verify: { run: [], expect: 'no fault, 0 differences' },
  },
  {
    title: 'go on there',
    where: 'shell',
    run: [
      'DATABASE_URL="$CLUSTER" pgstrata ingest --follow -c citus.yaml',
      'DATABASE_URL="$CLUSTER" pgstrata schedule -c citus.yaml',
      '# point readers and `pgstrata serve` to the cluster',
    ],
    locks: NOTHING,
    loading: 'goes on',
    verify: {
      run: ['select stream, network, position from strata.stream_positions order by 1, 2'],
      expect:
        'past what was noted. Until here nothing was changed on the source: to go back, start its ingest again',
    },
  },
];
