/** The questions that docs/sizing.md answers: two workloads, two machines to buy, one policy. */
import { citusFor } from './closed-form.ts';
import type { Cluster, Machine, Policy, Scenario, Workload } from './demand.ts';
import type { Rates } from './rates.ts';

const GB = 1e9;
const TB = 1e12;

/** 250,000 accounts × 100 activities × 168 hours: 4.2 billion rows a week. */
export const BILLIONS: Workload = {
  name: '4.2 billion rows a week',
  accounts: 250_000,
  activities: 100,
  peak: 4,
  skew: 1.15,
  streams: 1,
};

/** A hundred times that. */
export const HUNDREDFOLD: Workload = {
  ...BILLIONS,
  name: '420 billion rows a week',
  accounts: BILLIONS.accounts * 100,
  streams: 8,
};

/** Machines as they can be rented; their figures are their makers'. */
export const MACHINES = {
  medium: {
    name: '32 cores, 256 GB, 15 TB NVMe, 25 Gbit/s',
    cores: 32,
    memory_bytes: 256 * GB,
    disk_bytes: 15 * TB,
    disk_bytes_s: 2 * GB,
    net_bytes_s: 3.1 * GB,
  },
  large: {
    name: '64 cores, 1 TB, 60 TB NVMe, 100 Gbit/s',
    cores: 64,
    memory_bytes: 1000 * GB,
    disk_bytes: 60 * TB,
    disk_bytes_s: 6 * GB,
    net_bytes_s: 12.5 * GB,
  },
} as const satisfies Record<string, Machine>;

/** A quarter of changes, two years of balances; weeks settle when they are four weeks old. */
export const POLICY: Policy = {
  changes: { retain: 13, settle_after: 4 },
  balances: { retain: 104, settle_after: 4 },
  checkpoint_s: 4 * 3600,
  hold_days: 2,
  backup_every: 4,
};

/** The same, with balances for a year only. */
const YEAR: Policy = { ...POLICY, balances: { retain: 52, settle_after: 4 } };

/** A Citus cluster of so many workers. */
export const citusOf = (workers: number, machine: Machine): Cluster => ({
  topology: 'citus',
  workers,
  shards: workers * 16,
  machine,
});

const ONE: Cluster = { topology: 'single', workers: 1, shards: 16, machine: MACHINES.large };

/** The scenarios, by the heads of their columns. */
export const scenariosOf = (rates: Rates): ReadonlyMap<string, Scenario> =>
  new Map<string, Scenario>([
    ['4.2 billion, one large machine', { workload: BILLIONS, policy: POLICY, cluster: ONE }],
    ['the same, balances for a year', { workload: BILLIONS, policy: YEAR, cluster: ONE }],
    [
      '4.2 billion, Citus, medium machines',
      {
        workload: BILLIONS,
        policy: POLICY,
        cluster: citusFor(rates, BILLIONS, MACHINES.medium, POLICY),
      },
    ],
    [
      '420 billion, Citus, large machines',
      {
        workload: HUNDREDFOLD,
        policy: POLICY,
        cluster: citusFor(rates, HUNDREDFOLD, MACHINES.large, POLICY),
      },
    ],
  ]);
