/**
 * A discrete simulation of the fullest worker, hour by hour over weeks: ingest with its fold first, then what maintenance is due,
 * with limited processors and disk. Pure; the same scenario gives the same answer.
 *
 * Every hour has a budget of processor seconds and of bytes. Rows that wait and rows that come take from it first, at what a row
 * costs then: the further the week has gone, the less of its keys is in memory. What is left goes to jobs in their order: copying
 * a lost worker anew, freezing and settling weeks, backups.
 */
import {
  costOfRow,
  HOUR_S,
  HOURS_PER_WEEK,
  KEPT,
  keysOf,
  missedShare,
  rowBytes,
  rowsPerWeek,
  settleCpu,
  shareOf,
  USABLE,
  type Kept,
  type Scenario,
} from './demand.ts';
import { SETTLE_CORES, writerSeconds } from './closed-form.ts';
import type { Rates } from './rates.ts';

/** What the simulation is asked. */
export interface Run {
  readonly weeks: number;
  /** The hour in which the worker is lost, its standby takes over and a new standby has to be made; null for never. */
  readonly lost_at: number | null;
}

/** Seconds without writes until a standby has taken over. */
const FAILOVER_S = 60;

/** Share of the bandwidth that copying a lost worker may take from ingest. */
const REPLICATE_SHARE = 0.5;

/** What it comes to. */
export interface Outcome {
  /** What gave way: rows that wait an hour and more at the end, a week that took a week to settle, a disk that was too small. */
  readonly fails: 'rows wait' | 'weeks do not settle' | 'disk' | null;
  /** Most rows that waited, as hours of mean input. */
  readonly lag_hours_max: number;
  readonly lag_hours_end: number;
  /** Most hours between a week falling due and having settled. */
  readonly settle_hours_max: number;
  /** Weeks whose settling waits or goes on at the end. */
  readonly unsettled_end: number;
  readonly disk_high_water: number;
  /** Shares of what may be planned with. */
  readonly cpu_mean: number;
  readonly cpu_max: number;
  readonly bandwidth_mean: number;
  /** Most that ingest took of it; the rest of an hour's bandwidth goes to maintenance wherever there is some to do. */
  readonly ingest_bandwidth_max: number;
  readonly backup_hours_max: number;
  /** Hours until there is a standby again, and rows a second that the whole cluster can take meanwhile; null where nothing was lost. */
  readonly lost: {
    readonly replicate_hours: number;
    readonly rows_per_s: number;
    readonly lag_hours: number;
  } | null;
}

type JobKind = 'replicate' | 'freeze' | 'settle' | 'backup';

interface Job {
  readonly kind: JobKind;
  readonly due: number;
  readonly table: Kept | null;
  readonly cores: number;
  cpu_s: number;
  bytes: number;
  /** What finishing it does to the disk. */
  readonly after: (hour: number) => void;
}

/** What changes from hour to hour. */
interface State {
  waiting: number;
  disk: number;
  high: number;
  readonly jobs: Job[];
  readonly releases: { readonly at: number; readonly bytes: number }[];
  readonly done: { readonly kind: JobKind; readonly hours: number }[];
}

interface Hour {
  readonly cpu: number;
  readonly bandwidth: number;
  readonly ingest: number;
  readonly waiting: number;
  readonly capacity: number;
  readonly replicating: boolean;
}

/** Runs it. */
export const simulate = (rates: Rates, scenario: Scenario, run: Run): Outcome => {
  const { state: row } = rates.bytes;
  const base = keysOf(scenario.workload) * shareOf(scenario) * (row.heap + row.key);
  const state: State = { waiting: 0, disk: base, high: base, jobs: [], releases: [], done: [] };
  const model = prepare(rates, scenario, run);
  const hours: Hour[] = [];
  for (let hour = 0; hour < run.weeks * HOURS_PER_WEEK; hour++) {
    if (hour > 0 && hour % HOURS_PER_WEEK === 0) turnWeek(rates, scenario, state, hour);
    if (hour === run.lost_at) state.jobs.unshift(copyOfAll('replicate', hour, state));
    hours.push(passHour(model, state, hour));
  }
  return summarise(scenario, state, hours);
};

const nothing = (): void => undefined;

/** All that is on the disk goes elsewhere; the disk is what it takes. */
const copyOfAll = (kind: 'replicate' | 'backup', hour: number, { disk }: State): Job => ({
  kind,
  due: hour,
  table: null,
  cores: 2,
  cpu_s: 0,
  bytes: disk,
  after: nothing,
});

/** Rows of a week on the fullest worker. */
const ownRows = (scenario: Scenario): number => rowsPerWeek(scenario.workload) * shareOf(scenario);

/** Sunday 00:00: the week behind us closes, older ones settle or go. */
const turnWeek = (rates: Rates, scenario: Scenario, state: State, hour: number): void => {
  const { policy, cluster } = scenario;
  const week = hour / HOURS_PER_WEEK;
  const rows = ownRows(scenario);
  for (const table of KEPT) {
    const { hot, settled } = rowBytes(rates, table, cluster.topology);
    const { heap } = rates.bytes[table];
    const { retain, settle_after } = policy[table];
    state.jobs.push({
      kind: 'freeze',
      due: hour,
      table,
      cores: 1,
      after: nothing,
      cpu_s: (rows * rates.cpu_s_per_million.freeze) / 1e6,
      bytes: rows * (2 * heap + rates.wal_bytes.freeze),
    });
    if (week > settle_after && settle_after < retain)
      state.jobs.push({
        kind: 'settle',
        due: hour,
        table,
        cores: SETTLE_CORES,
        cpu_s: rows * settleCpu(rates, cluster.topology),
        bytes: rows * (hot + 2 * settled),
        after: (done) => {
          state.disk += rows * settled;
          state.releases.push({ at: done + policy.hold_days * 24, bytes: rows * hot });
        },
      });
    if (week > retain)
      state.releases.push({
        at: hour + policy.hold_days * 24,
        bytes: rows * (settle_after < retain ? settled : hot),
      });
  }
  if (week % policy.backup_every === 0) state.jobs.push(copyOfAll('backup', hour, state));
};

/** What is the same in every week. */
interface Model {
  readonly run: Run;
  readonly machine: Scenario['cluster']['machine'];
  /** Of a row, in each hour of a week. */
  readonly costs: readonly { readonly cpu_s: number; readonly bytes: number }[];
  readonly hotBytes: number;
  /** Rows an hour that the streams' connections can write for this worker. */
  readonly written: number;
  /** Rows that come in the busiest hour of a day, and in each of the others. */
  readonly arrivals: { readonly peak: number; readonly other: number };
}

const prepare = (rates: Rates, scenario: Scenario, run: Run): Model => {
  const { cluster, workload, policy } = scenario;
  const mean = ownRows(scenario) / HOURS_PER_WEEK;
  return {
    run,
    machine: cluster.machine,
    costs: Array.from({ length: HOURS_PER_WEEK }, (_unused, hour) => {
      const cost = costOfRow(rates, policy, missedShare(rates, scenario, (hour + 1) / HOURS_PER_WEEK));
      return { cpu_s: cost.cpu_s, bytes: cost.write_bytes + cost.read_bytes };
    }),
    hotBytes: KEPT.reduce((sum, table) => sum + rowBytes(rates, table, cluster.topology).hot, 0),
    written: ((workload.streams * HOUR_S) / writerSeconds(rates, cluster)) * shareOf(scenario),
    arrivals: { peak: mean * workload.peak, other: (mean * (24 - workload.peak)) / 23 },
  };
};

/** The busiest hour of each day. */
const BUSIEST = 18;

const passHour = (
  { run, machine, costs, hotBytes, written, arrivals }: Model,
  state: State,
  hour: number,
): Hour => {
  const budget = {
    cpu: machine.cores * USABLE.cores * HOUR_S,
    bytes: machine.disk_bytes_s * USABLE.bandwidth * HOUR_S,
  };
  const left = { ...budget };
  const replicating = state.jobs[0]?.kind === 'replicate';
  if (replicating) work(state, state.jobs[0]!, left, hour, REPLICATE_SHARE, machine.net_bytes_s);
  const cost = costs[hour % HOURS_PER_WEEK]!;
  const open = hour === run.lost_at ? 1 - FAILOVER_S / HOUR_S : 1;
  const capacity = Math.min(left.cpu / cost.cpu_s, left.bytes / cost.bytes, written) * open;
  const wanted = state.waiting + (hour % 24 === BUSIEST ? arrivals.peak : arrivals.other);
  const taken = Math.min(wanted, capacity);
  state.waiting = wanted - taken;
  left.cpu -= taken * cost.cpu_s;
  left.bytes -= taken * cost.bytes;
  state.disk += taken * hotBytes;
  // A copy, for what is done leaves the list.
  for (const job of state.jobs.filter(({ kind }) => kind !== 'replicate'))
    work(state, job, left, hour, 1, machine.net_bytes_s);
  release(state, hour);
  return {
    cpu: 1 - left.cpu / budget.cpu,
    bandwidth: 1 - left.bytes / budget.bytes,
    ingest: (taken * cost.bytes) / budget.bytes,
    waiting: state.waiting,
    capacity: capacity / HOUR_S,
    replicating,
  };
};

/** Gives a job what it can use of what is left; both its parts advance together, by the scarcer. */
const work = (
  state: State,
  job: Job,
  left: { cpu: number; bytes: number },
  hour: number,
  share: number,
  net_bytes_s: number,
): void => {
  const wire =
    job.kind === 'replicate' || job.kind === 'backup' ? net_bytes_s * USABLE.bandwidth * HOUR_S : Infinity;
  const cpu = Math.min(left.cpu * share, job.cores * HOUR_S);
  const bytes = Math.min(left.bytes * share, wire);
  const part = Math.min(1, job.cpu_s === 0 ? 1 : cpu / job.cpu_s, job.bytes === 0 ? 1 : bytes / job.bytes);
  left.cpu -= job.cpu_s * part;
  left.bytes -= job.bytes * part;
  job.cpu_s *= 1 - part;
  job.bytes *= 1 - part;
  if (part < 1) return;
  state.jobs.splice(state.jobs.indexOf(job), 1);
  state.done.push({ kind: job.kind, hours: hour + 1 - job.due });
  job.after(hour);
};

/** Held and dropped weeks give their room back when their time has passed. */
const release = (state: State, hour: number): void => {
  state.high = Math.max(state.high, state.disk);
  if (!state.releases.some(({ at }) => at <= hour)) return;
  for (const one of state.releases.filter(({ at }) => at <= hour)) {
    state.disk -= one.bytes;
    state.releases.splice(state.releases.indexOf(one), 1);
  }
};

const failureOf = (
  scenario: Scenario,
  state: State,
  lagHours: number,
  settleHours: number,
): Outcome['fails'] => {
  if (lagHours >= 1) return 'rows wait';
  if (settleHours >= HOURS_PER_WEEK) return 'weeks do not settle';
  return state.high > scenario.cluster.machine.disk_bytes * USABLE.disk ? 'disk' : null;
};

const summarise = (scenario: Scenario, state: State, hours: readonly Hour[]): Outcome => {
  const mean = ownRows(scenario) / HOURS_PER_WEEK;
  const most = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), 0);
  const average = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  const longest = (kind: JobKind): number =>
    most(
      [...state.done, ...state.jobs.map((job) => ({ kind: job.kind, hours: hours.length - job.due }))]
        .filter((one) => one.kind === kind)
        .map((one) => one.hours),
    );
  const lagEnd = state.waiting / mean;
  const unsettled = state.jobs.filter(({ kind }) => kind === 'settle').length;
  const without = hours.filter(({ replicating }) => replicating);
  return {
    fails: failureOf(scenario, state, lagEnd, longest('settle')),
    lag_hours_max: most(hours.map(({ waiting }) => waiting)) / mean,
    lag_hours_end: lagEnd,
    settle_hours_max: longest('settle'),
    unsettled_end: unsettled,
    disk_high_water: state.high,
    cpu_mean: average(hours.map(({ cpu }) => cpu)),
    cpu_max: most(hours.map(({ cpu }) => cpu)),
    bandwidth_mean: average(hours.map(({ bandwidth }) => bandwidth)),
    ingest_bandwidth_max: most(hours.map(({ ingest }) => ingest)),
    backup_hours_max: longest('backup'),
    lost:
      without.length === 0
        ? null
        : {
            replicate_hours: longest('replicate'),
            rows_per_s: Math.min(...without.map(({ capacity }) => capacity)) / shareOf(scenario),
            lag_hours: most(without.map(({ waiting }) => waiting)) / mean,
          },
  };
};
