/** The sizing by arithmetic: machines, shards, disk, WAL, locks, memory, times. Pure. */
import {
  costOfRow,
  KEPT,
  keysOf,
  rowBytes,
  rowsPerWeek,
  settleCpu,
  shareOf,
  USABLE,
  WEEK_S,
  workingSet,
  type Cluster,
  type Kept,
  type Machine,
  type Policy,
  type Scenario,
  type Workload,
} from './demand.ts';
import type { Rates } from './rates.ts';

/** What each limit alone would ask for, in workers. */
export interface WorkersNeeded {
  readonly memory: number;
  readonly cores: number;
  readonly disk: number;
  readonly bandwidth: number;
}

/** Shards of each worker: enough that its cores share a fold, few enough that a leaf of a week is no crumb. */
const SHARDS_PER_WORKER = 16;
/** More are refused. */
const SHARDS_MAX = 1024;

/** Processors that ingest may take at its peak; the others maintain and answer. */
const INGEST_SHARE = 0.5;

/** Unpruned queries that are to run at once on a worker without running out of locks. */
const UNPRUNED_QUERIES = 8;

/** `max_connections` that locks are reckoned with. */
const CONNECTIONS = 200;

/** Indexes of a leaf, BRIN among them. */
const INDEXES = 2;

/** Processors that one settling takes: `parallel by leaf`, while ingest goes on. */
export const SETTLE_CORES = 4;

/** How many workers each limit asks for, by itself. */
export const workersNeeded = (
  rates: Rates,
  workload: Workload,
  machine: Machine,
  policy: Policy,
): WorkersNeeded => {
  const whole: Scenario = {
    workload,
    policy,
    cluster: { topology: 'citus', workers: 1, shards: 1, machine },
  };
  const cost = costOfRow(rates, policy, 0);
  const peakRows = (rowsPerWeek(workload) / WEEK_S) * workload.peak;
  const workers = (wanted: number, per: number): number => Math.ceil((wanted * workload.skew) / per);
  return {
    memory: workers(workingSet(rates, whole, 1), machine.memory_bytes * USABLE.memory),
    cores: workers(peakRows * cost.cpu_s, machine.cores * USABLE.cores * INGEST_SHARE),
    disk: workers(diskBytes(rates, whole), machine.disk_bytes * USABLE.disk),
    bandwidth: workers(
      peakRows * (cost.write_bytes + cost.read_bytes),
      machine.disk_bytes_s * USABLE.bandwidth,
    ),
  };
};

/** A Citus cluster of as many workers as the hardest limit asks for; at least two. */
export const citusFor = (rates: Rates, workload: Workload, machine: Machine, policy: Policy): Cluster => {
  const workers = Math.max(2, ...Object.values(workersNeeded(rates, workload, machine, policy)));
  return { topology: 'citus', workers, shards: Math.min(SHARDS_MAX, workers * SHARDS_PER_WORKER), machine };
};

/** Bytes of a table that the fullest worker keeps, when everything has settled that should have. */
const keptBytes = (rates: Rates, scenario: Scenario, table: Kept): number => {
  const { retain, settle_after } = scenario.policy[table];
  const { hot, settled } = rowBytes(rates, table, scenario.cluster.topology);
  const hotWeeks = Math.min(retain, settle_after) + 1;
  return (
    rowsPerWeek(scenario.workload) *
    shareOf(scenario) *
    (hotWeeks * hot + Math.max(0, retain - settle_after) * settled)
  );
};

/** Room that settling a week needs beside it: its new form, and the old one while it is held. */
const settlingBytes = (rates: Rates, scenario: Scenario): number =>
  Math.max(
    ...KEPT.map((table) => rowBytes(rates, table, scenario.cluster.topology)).map(
      ({ hot, settled }) => hot + settled,
    ),
  ) *
  rowsPerWeek(scenario.workload) *
  shareOf(scenario);

/** Disk of the fullest worker, the room for settling included. */
const diskBytes = (rates: Rates, scenario: Scenario): number => {
  const { state } = rates.bytes;
  const kept = KEPT.reduce((sum, table) => sum + keptBytes(rates, scenario, table), 0);
  return (
    kept +
    keysOf(scenario.workload) * shareOf(scenario) * (state.heap + state.key) +
    settlingBytes(rates, scenario)
  );
};

/** The answers of one scenario. Bytes are of the fullest worker where they are not of the whole. */
export interface Sizing {
  readonly rows_per_s: number;
  readonly peak_rows_per_s: number;
  readonly loaders: number;
  readonly leaf_bytes: number;
  readonly worker_disk_bytes: number;
  readonly total_disk_bytes: number;
  readonly settled_share: number;
  readonly wal_bytes_day: number;
  readonly max_wal_bytes: number;
  readonly memory_bytes: number;
  readonly locks_per_query: number;
  readonly max_locks_per_transaction: number;
  readonly relations: number;
  readonly settle_hours: number;
  readonly backup_hours: number;
  readonly replicate_hours: number;
  readonly coordinator_cores: number;
  readonly load_history_week_hours: number;
}

const HOUR = 3600;

/** All of them. */
export const sizingOf = (rates: Rates, scenario: Scenario): Sizing => {
  const { workload, cluster, policy } = scenario;
  const rows = rowsPerWeek(workload);
  const own = rows * shareOf(scenario);
  const perSecond = rows / WEEK_S;
  const cost = costOfRow(rates, policy, 0);
  const leaves = KEPT.map((table) => leavesOf(scenario, table));
  const locks = Math.max(...leaves) * rates.locks_per_leaf;
  const disk = diskBytes(rates, scenario);
  const kept = KEPT.map((table) => keptBytes(rates, scenario, table));
  const { cpu_s_per_million: cpu } = rates;
  const moving = Math.min(cluster.machine.net_bytes_s, cluster.machine.disk_bytes_s) * USABLE.bandwidth;
  return {
    rows_per_s: perSecond,
    peak_rows_per_s: perSecond * workload.peak,
    loaders: Math.ceil(perSecond * workload.peak * writerSeconds(rates, cluster)),
    leaf_bytes: (rows / cluster.shards) * rowBytes(rates, 'changes', cluster.topology).hot,
    worker_disk_bytes: disk,
    total_disk_bytes: (disk * cluster.workers) / (cluster.workers === 1 ? 1 : workload.skew),
    settled_share: 1 - kept.reduce((a, b) => a + b, 0) / hotOnly(rates, scenario),
    wal_bytes_day: perSecond * 86_400 * cost.wal_bytes,
    max_wal_bytes: walBetweenCheckpoints(own / WEEK_S, workload.peak, policy.checkpoint_s, cost.wal_bytes),
    memory_bytes: workingSet(rates, scenario, 1),
    locks_per_query: locks,
    max_locks_per_transaction: Math.ceil((locks * UNPRUNED_QUERIES) / CONNECTIONS / 64) * 64,
    relations: leaves.reduce((a, b) => a + b, 0) * (1 + INDEXES),
    settle_hours: (own * settleCpu(rates, cluster.topology)) / SETTLE_CORES / HOUR,
    backup_hours: disk / moving / HOUR,
    replicate_hours: disk / moving / HOUR,
    coordinator_cores:
      cluster.topology === 'single' ? 0 : (perSecond * workload.peak * (cpu.coordinator ?? 0)) / 1e6,
    load_history_week_hours: bulkHours(rates, scenario),
  };
};

/** Leaves of a table on one worker: every shard has each week; on `single` a week that has settled is one. */
const leavesOf = ({ cluster, policy }: Scenario, table: Kept): number => {
  const { retain, settle_after } = policy[table];
  const perWeek = Math.ceil(cluster.shards / cluster.workers);
  return cluster.topology === 'citus'
    ? (retain + 1) * perWeek
    : (Math.min(retain, settle_after) + 1) * perWeek + Math.max(0, retain - settle_after);
};

/** A checkpoint is begun when about half of `max_wal_size` is written since the last one. */
const WAL_KEPT = 1.9;

/** `max_wal_size` that lets checkpoints come by the clock alone, in the busiest hour too. */
export const walBetweenCheckpoints = (
  rows_s: number,
  peak: number,
  checkpoint_s: number,
  row_bytes: number,
): number =>
  rows_s * (Math.min(checkpoint_s, HOUR) * peak + Math.max(0, checkpoint_s - HOUR)) * row_bytes * WAL_KEPT;

const hotOnly = (rates: Rates, scenario: Scenario): number =>
  KEPT.reduce(
    (sum, table) =>
      sum +
      rowsPerWeek(scenario.workload) *
        shareOf(scenario) *
        (scenario.policy[table].retain + 1) *
        rowBytes(rates, table, scenario.cluster.topology).hot,
    0,
  );

/** Hours for a week of history in bulk, loaders on the same cores: as fast as cores, or disks that take it once and read it once. */
const bulkHours = ({ cpu_s_per_million: cpu, bytes }: Rates, scenario: Scenario): number => {
  const { cores, disk_bytes_s } = scenario.cluster.machine;
  const own = rowsPerWeek(scenario.workload) * shareOf(scenario);
  const cpu_s = (own * (cpu.loader + cpu.copy_bulk + cpu.fold_bulk)) / 1e6 / (cores * USABLE.cores);
  const row = bytes.changes.heap + bytes.changes.key + bytes.balances.heap + bytes.balances.key;
  return Math.max(cpu_s, (own * row * 2) / (disk_bytes_s * USABLE.bandwidth)) / HOUR;
};

/** Seconds that one connection needs for a row: on Citus the coordinator's part, and the workers' as their shards share it. */
export const writerSeconds = (
  { cpu_s_per_million: cpu }: Rates,
  { topology, workers, shards, machine }: Cluster,
): number =>
  topology === 'single'
    ? (cpu.copy + cpu.fold) / 1e6
    : ((cpu.coordinator ?? 0) + (cpu.copy + cpu.fold) / Math.min(shards, workers * machine.cores)) / 1e6;
