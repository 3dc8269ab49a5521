/** The metrics of the warehouse as a list: what each is called, and where its samples come from. Names follow Prometheus: each says its unit. */
import type { ConsolidationCount, RunCount } from '../warehouse/page/journal.ts';
import type { SetMap } from '../warehouse/page/strata-map.ts';
import type { Alert } from '../warehouse/partitions/alerts.ts';
import type { StreamCard } from './board.ts';

/** What the metrics are made of. */
export interface Facts {
  readonly streams: readonly StreamCard[];
  readonly map: readonly SetMap[];
  readonly alerts: readonly Alert[];
  readonly runs: readonly RunCount[];
  readonly consolidations: readonly ConsolidationCount[];
  readonly connections: readonly { readonly application: string; readonly connections: number }[];
}

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number | null | undefined];

/** One metric: what it is called, and its samples. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly kind: 'gauge' | 'counter';
  readonly labels: readonly string[];
  readonly samples: (facts: Facts) => readonly Sample[];
}

const seconds = (iso: string | null): number | null => (iso === null ? null : Date.parse(iso) / 1000);

/** A value of each stream and network that has committed something. */
const ofNetwork = (
  name: string,
  help: string,
  value: (stream: StreamCard) => number | null | undefined,
): Metric => ({
  name: `pgstrata_stream_${name}`,
  help,
  kind: 'gauge',
  labels: ['stream', 'network'],
  samples: ({ streams }) =>
    streams.flatMap((one) =>
      one.network === null ? [] : [[{ stream: one.stream, network: one.network }, value(one)] as const],
    ),
});

/** Streams once, whatever number of networks they have. */
const once = (streams: readonly StreamCard[]): readonly StreamCard[] => [
  ...new Map(streams.map((stream) => [stream.stream, stream])).values(),
];

/** A value of each stream that a process has spoken for. */
const ofStream = (
  name: string,
  help: string,
  value: (stream: StreamCard) => number | null | undefined,
): Metric => ({
  name: `pgstrata_stream_${name}`,
  help,
  kind: 'gauge',
  labels: ['stream'],
  samples: ({ streams }) =>
    once(streams).flatMap((one) =>
      one.state === null ? [] : [[{ stream: one.stream }, value(one)] as const],
    ),
});

/** A sum of the process that loads a stream. */
const ofWork = (
  name: string,
  help: string,
  value: (stream: StreamCard) => number | null | undefined,
): Metric => ({ ...ofStream('', help, value), name: `pgstrata_ingest_${name}_total`, kind: 'counter' });

/** One of several states: 1 for the one it is in. */
const states = (
  name: string,
  help: string,
  all: readonly string[],
  state: (stream: StreamCard) => string | null,
): Metric => ({
  name: `pgstrata_stream_${name}`,
  help,
  kind: 'gauge',
  labels: ['stream', 'state'],
  samples: ({ streams }) =>
    once(streams).flatMap((one) =>
      one.state === null
        ? []
        : all.map((each) => [{ stream: one.stream, state: each }, state(one) === each ? 1 : 0] as const),
    ),
});

const ofSet = (name: string, help: string, value: (set: SetMap) => number | null): Metric => ({
  name: `pgstrata_${name}`,
  help,
  kind: 'gauge',
  labels: ['set'],
  samples: ({ map }) => map.map((set) => [{ set: set.set }, value(set)] as const),
});

const PARTITION_STATES = [
  'ahead',
  'loading',
  'hot',
  'closed',
  'consolidating',
  'consolidated',
  'held',
  'dropped',
  'gap',
  'unreached',
  'other',
] as const;

const ENDED_WELL: readonly string[] = ['done', 'nothing'];

/** Every metric of the warehouse; each name says its unit. */
export const METRICS: readonly Metric[] = [
  ofNetwork('position_block', 'Last committed block', ({ position }) => position),
  ofNetwork('head_block', 'Newest block the server has shown', ({ head }) => head),
  ofNetwork('lag_blocks', 'Blocks behind the head', ({ lag_blocks }) => lag_blocks),
  ofNetwork(
    'lag_seconds',
    'Age of the newest loaded block by its own time',
    ({ lag_seconds }) => lag_seconds,
  ),
  ofNetwork('rows', 'Rows that the ledger counts; a reorg takes some away', ({ rows }) => rows),
  ofNetwork(
    'rows_per_second',
    'Rows committed in the last minute, per second',
    ({ rows_per_second }) => rows_per_second,
  ),
  ofNetwork('batches', 'Committed ranges in the ledger', ({ batches }) => batches),
  ofNetwork('quarantined_rows', 'Rows that were refused a place', ({ quarantined }) => quarantined),
  ofNetwork('gaps', 'Holes between committed ranges', ({ gaps }) => gaps),
  ofNetwork('gap_blocks', 'Blocks in those holes', ({ gap_blocks }) => gap_blocks),
  ofNetwork('last_commit_timestamp_seconds', 'When something was committed last', ({ last_commit }) =>
    seconds(last_commit),
  ),
  states(
    'state',
    'What the stream does: 1 for its state',
    ['running', 'waiting', 'stopped', 'lost'],
    ({ state }) => state,
  ),
  states(
    'breaker',
    'Circuit breaker: 1 for its state',
    ['closed', 'half-open', 'open'],
    ({ breaker }) => breaker,
  ),
  ofStream('failures', 'Failed tries since the last commit', ({ failures }) => failures),
  ofStream(
    'rate_limit_delay_seconds',
    'Wait before each query of an overloaded server',
    ({ rate_delay_ms }) => rate_delay_ms / 1000,
  ),
  ofStream('seen_timestamp_seconds', 'When its process last said something', ({ seen_at }) =>
    seconds(seen_at),
  ),
  ofWork('rows', 'Rows committed since the process started', ({ work }) => work?.rows),
  ofWork('batches', 'Block ranges committed since the process started', ({ work }) => work?.batches),
  ofWork('commits', 'Transactions committed since the process started', ({ work }) => work?.commits),
  ofWork('sent_bytes', 'Bytes sent to PostgreSQL by COPY', ({ work }) => work?.bytes),
  ofWork('reorgs', 'Reorgs taken back', ({ work }) => work?.reorgs),
  ofWork('retries', 'Tries after a failure', ({ retries }) => retries),
  {
    name: 'pgstrata_weeks',
    help: 'Weeks of a partition set by state; gap: missing ones, unreached: no rows have come so far',
    kind: 'gauge',
    labels: ['set', 'state'],
    samples: ({ map }) =>
      map.flatMap(({ set, counts }) =>
        PARTITION_STATES.map((state) => [{ set, state }, counts[state] ?? 0] as const),
      ),
  },
  ofSet('partitions', 'Attached tables of a set', ({ strata }) =>
    strata.reduce((sum, { leaves }) => sum + leaves.length, 0),
  ),
  ofSet('partition_bytes', 'Bytes of what is attached, indexes included', ({ bytes }) => bytes),
  ofSet('held_bytes', 'Bytes of what was taken out and can be put back', ({ held_bytes }) => held_bytes),
  ofSet(
    'runway_weeks',
    'Whole weeks ahead without a gap; -1: the present one is missing',
    ({ runway_weeks }) => runway_weeks,
  ),
  {
    name: 'pgstrata_maintenance_runs_total',
    help: 'Ended maintenance runs in the journal',
    kind: 'counter',
    labels: ['set', 'verb', 'outcome'],
    samples: ({ runs }) =>
      runs.map(({ set, verb, outcome, runs: count }) => [{ set, verb, outcome }, count] as const),
  },
  {
    name: 'pgstrata_maintenance_last_success_timestamp_seconds',
    help: 'When a verb last ended well for a set',
    kind: 'gauge',
    labels: ['set', 'verb'],
    samples: ({ runs }) => lastWell(runs).map(({ set, verb, last_at }) => [{ set, verb }, last_at] as const),
  },
  {
    name: 'pgstrata_maintenance_last_duration_seconds',
    help: 'How long that run took',
    kind: 'gauge',
    labels: ['set', 'verb'],
    samples: ({ runs }) =>
      lastWell(runs).map(({ set, verb, last_seconds }) => [{ set, verb }, last_seconds] as const),
  },
  {
    name: 'pgstrata_consolidations',
    help: 'Consolidations by the step they are at; swapped and dropped are done',
    kind: 'gauge',
    labels: ['set', 'step'],
    samples: ({ consolidations }) =>
      consolidations.map(({ set, step, weeks }) => [{ set, step }, weeks] as const),
  },
  {
    name: 'pgstrata_consolidation_saved_bytes',
    help: 'Bytes that consolidated weeks are smaller by',
    kind: 'gauge',
    labels: ['set'],
    samples: ({ map, consolidations }) =>
      map.map(({ set }) => [
        { set },
        consolidations
          .filter((one) => one.set === set && (one.step === 'swapped' || one.step === 'dropped'))
          .reduce((sum, one) => sum + one.bytes_before - one.bytes_after, 0),
      ]),
  },
  {
    name: 'pgstrata_consolidation_root_lock_seconds_max',
    help: 'The longest that a swap has locked a root',
    kind: 'gauge',
    labels: ['set'],
    samples: ({ map, consolidations }) =>
      map.map(({ set }) => [
        { set },
        Math.max(
          0,
          ...consolidations.filter((one) => one.set === set).map(({ root_locked_ms }) => root_locked_ms ?? 0),
        ) / 1000,
      ]),
  },
  {
    name: 'pgstrata_alerts',
    help: 'What `pgstrata status` warns of',
    kind: 'gauge',
    labels: ['severity'],
    samples: ({ alerts }) =>
      (['warning', 'fault'] as const).map((state) => [
        { severity: state },
        alerts.filter((alert) => alert.state === state).length,
      ]),
  },
  {
    name: 'pgstrata_database_connections',
    help: 'Connections of pgstrata processes to this database',
    kind: 'gauge',
    labels: ['application'],
    samples: ({ connections }) =>
      connections.map(({ application, connections: count }) => [{ application }, count] as const),
  },
];

/** Of each set and verb, the newest outcome that was a good one. */
const lastWell = (runs: readonly RunCount[]): readonly RunCount[] => [
  ...new Map(
    runs
      .filter(({ outcome }) => ENDED_WELL.includes(outcome))
      .toSorted((a, b) => a.last_at - b.last_at)
      .map((run) => [`${run.verb} ${run.set}`, run] as const),
  ).values(),
];
