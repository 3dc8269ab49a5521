/** What a row asks of a cluster, from measured rates: processor, bytes, WAL, pages. Pure; no clock, no disk. */
import type { Rates } from './rates.ts';

/** What comes in: every key changes once an hour, the worst that hourly balances can be asked. */
export interface Workload {
  readonly name: string;
  readonly accounts: number;
  readonly activities: number;
  /** The busiest hour of a day over the mean hour. */
  readonly peak: number;
  /** The fullest node's share over the mean node's. */
  readonly skew: number;
  /** Streams that load at once, each one connection. */
  readonly streams: number;
}

/** A machine to buy: assumed, not measured. Rates per second. */
export interface Machine {
  readonly name: string;
  readonly cores: number;
  readonly memory_bytes: number;
  readonly disk_bytes: number;
  readonly disk_bytes_s: number;
  readonly net_bytes_s: number;
}

/** What is kept of a table, in weeks. */
export interface Keeping {
  readonly retain: number;
  /** Age at which a week is consolidated, or on Citus turned columnar. */
  readonly settle_after: number;
}

/** Choices of the operator. */
export interface Policy {
  readonly changes: Keeping;
  readonly balances: Keeping;
  readonly checkpoint_s: number;
  /** Days that a consolidated week's old partitions are held. */
  readonly hold_days: number;
  /** Weeks between two full backups. */
  readonly backup_every: number;
}

/** What the rows are spread over. On `single` there is one worker and no coordinator. */
export interface Cluster {
  readonly topology: 'single' | 'citus';
  readonly workers: number;
  readonly shards: number;
  readonly machine: Machine;
}

/** One question, whole. */
export interface Scenario {
  readonly workload: Workload;
  readonly cluster: Cluster;
  readonly policy: Policy;
}

export const HOURS_PER_WEEK = 168;
const PAGE_BYTES = 8192;
export const HOUR_S = 3600;
export const WEEK_S = HOURS_PER_WEEK * HOUR_S;

/** Shares of a machine that may be planned with: the rest is for readers, for the kernel and for bad days. */
export const USABLE = { cores: 0.8, memory: 0.7, disk: 0.8, bandwidth: 0.7 } as const;

/** Keys: accounts times activities. */
export const keysOf = ({ accounts, activities }: Workload): number => accounts * activities;

/** Changes of a week, and as many balance rows. */
export const rowsPerWeek = (workload: Workload): number => keysOf(workload) * HOURS_PER_WEEK;

/** The fullest worker's part of the whole, from 0 to 1. */
export const shareOf = ({ workload, cluster }: Scenario): number =>
  cluster.workers === 1 ? 1 : Math.min(1, workload.skew / cluster.workers);

/** What a change costs the worker that keeps it. */
export interface RowCost {
  readonly cpu_s: number;
  readonly wal_bytes: number;
  /** Written to disk: WAL, new heap, pages of keys that a checkpoint or a full cache drives out. */
  readonly write_bytes: number;
  /** Read back, because the page was not in memory. */
  readonly read_bytes: number;
}

/**
 * The cost of one change, loaded and folded live.
 *
 * An hour meets each page of the week's keys about once, since the key is in the order of accounts and rows come in the order of
 * time. So a page is imaged in WAL, and written, once an hour, or once per checkpoint where these are rarer.
 *
 * @param missed share of the pages that are not in memory
 */
export const costOfRow = (rates: Rates, { checkpoint_s }: Policy, missed: number): RowCost => {
  const { cpu_s_per_million: cpu, wal_bytes: wal, bytes } = rates;
  const pages = wal.images_per_change;
  const perHour = Math.min(1, HOUR_S / checkpoint_s);
  const walBytes = wal.copy + wal.fold + pages * perHour * wal.image;
  const driven = Math.max(perHour, missed);
  return {
    cpu_s: (cpu.copy + cpu.fold) / 1e6,
    wal_bytes: walBytes,
    write_bytes: walBytes + bytes.changes.heap + bytes.balances.heap + pages * driven * PAGE_BYTES,
    read_bytes: pages * missed * PAGE_BYTES,
  };
};

/** Bytes of the fullest worker that want to be in memory when its week is so far gone (0 to 1). */
export const workingSet = (rates: Rates, scenario: Scenario, gone: number): number => {
  const { changes, balances, state } = rates.bytes;
  const share = shareOf(scenario);
  return (
    share *
    (rowsPerWeek(scenario.workload) * gone * (changes.key + balances.key) +
      keysOf(scenario.workload) * (state.heap + state.key))
  );
};

/** Share of the pages that memory cannot hold. */
export const missedShare = (rates: Rates, scenario: Scenario, gone: number): number => {
  const wanted = workingSet(rates, scenario, gone);
  return Math.max(0, 1 - (scenario.cluster.machine.memory_bytes * USABLE.memory) / wanted);
};

/** The two tables that weeks are kept of. */
export type Kept = 'changes' | 'balances';
export const KEPT: readonly Kept[] = ['changes', 'balances'];

/** Bytes of one row in a week that is loaded, and in one that has settled. */
export const rowBytes = (
  rates: Rates,
  table: Kept,
  topology: Cluster['topology'],
): { hot: number; settled: number } => {
  const { heap, key, consolidated, columnar } = rates.bytes[table];
  return { hot: heap + key, settled: topology === 'citus' ? (columnar ?? heap) : consolidated };
};

/** Processor seconds to settle one row: consolidation, or on Citus the way to columnar. */
export const settleCpu = ({ cpu_s_per_million: cpu }: Rates, topology: Cluster['topology']): number =>
  (topology === 'citus' ? (cpu.columnar ?? cpu.consolidate) : cpu.consolidate) / 1e6;
