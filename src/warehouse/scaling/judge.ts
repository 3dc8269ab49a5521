/** When one machine is no longer enough, and how many would be: judged from facts alone. Pure; the arithmetic is that of docs/sizing.md. */
import type { ServerFacts, SetFacts, Skew, TopologyFacts } from './facts.ts';

/** The machine that the database runs on, and that workers would be like; null for what is not known. */
export interface Machine {
  readonly cores: number | null;
  readonly memory_bytes: number | null;
  readonly disk_bytes: number | null;
}

/** What is expected. */
export interface Outlook {
  readonly now: Date;
  /** How far ahead to look, in weeks. */
  readonly weeks: number;
  /** How many times the rows of today are expected. */
  readonly times: number;
}

/** One thing that a machine has only so much of. */
export interface Limit {
  readonly limit: 'disk' | 'memory' | 'writer' | 'locks';
  /** What will be wanted at the end of the outlook, in `unit`. */
  readonly wanted: number;
  /** What may be planned with; null where it is not known. */
  readonly usable: number | null;
  readonly unit: 'bytes' | 'rows/s' | 'locks';
  /** wanted / usable. */
  readonly share: number | null;
  readonly says: string;
}

/** What is advised. */
export interface Advice {
  readonly verdict: 'one machine' | 'soon several' | 'several machines' | 'unknown';
  readonly says: string;
  readonly limits: readonly Limit[];
  readonly growth: { readonly bytes_per_week: number; readonly rows_per_week: number | null };
  /** A cluster that would do; there is one even where one machine is enough. */
  readonly workers: number;
  readonly shards: number;
  readonly skew: SkewAdvice | null;
}

/** How evenly accounts would fill the shards. */
export interface SkewAdvice extends Skew {
  /** The fullest shard's rows over the mean shard's. */
  readonly fullest: number;
  readonly hot: boolean;
  readonly says: string;
}

/** Shares of a machine that may be planned with: the rest is for readers, the kernel and bad days. */
const USABLE = { memory: 0.7, disk: 0.8, locks: 0.5 } as const;
/** Rows a second that one stream was seen to load and fold live on two cores. */
const WRITER_ROWS_S = 45_000;
/** The busiest hour over the mean hour, where nobody knows better. */
const PEAK = 4;
/** Locks that a query takes for each leaf: the table, its key, its BRIN. */
const LOCKS_PER_LEAF = 3;
/** Queries without bounds that should be able to run at once. */
const UNPRUNED_QUERIES = 8;
/** From this share on it is time to prepare. */
const SOON_SHARE = 0.7;
/** Shards of each worker: its cores share a fold, and a new worker finds some to take over. */
const SHARDS_PER_WORKER = 16;
const WORKERS_MIN = 2;
const SHARDS_MIN = 32;
/** More are refused: each is a set of tables on some worker. */
const SHARDS_MAX = 1024;
/** A shard this many times fuller than the mean decides alone how fast the cluster is. */
const HOT = 2;
/** Weeks that growth is measured on. */
const GROWTH_WEEKS = 4;
const WEEK_S = 604_800;
const WEEK_MS = WEEK_S * 1000;

/** Judges. */
export const adviseTopology = (facts: TopologyFacts, machine: Machine, outlook: Outlook): Advice => {
  const grown = facts.sets.map((set) => growthOf(set, outlook.now));
  const bytesPerWeek = total(grown.map(({ bytes }) => bytes));
  const limits = [
    diskLimit(facts, grown, machine, outlook),
    memoryLimit(facts.server, grown, machine, outlook),
    writerLimit(facts, grown, outlook),
    locksLimit(facts, outlook),
  ];
  // More machines do not lift the limit of locks; a setting does.
  const shares = limits.filter(({ limit }) => limit !== 'locks').flatMap(({ share }) => share ?? []);
  const hardest = Math.max(0, ...shares);
  const workers = Math.max(WORKERS_MIN, Math.ceil(hardest));
  const shards = Math.min(SHARDS_MAX, Math.max(SHARDS_MIN, workers * SHARDS_PER_WORKER));
  const known = limits.some(({ limit, share }) => limit === 'disk' && share !== null);
  const verdict =
    hardest > 1
      ? 'several machines'
      : hardest > SOON_SHARE
        ? 'soon several'
        : known
          ? 'one machine'
          : 'unknown';
  return {
    verdict,
    says: `${verdictText(verdict, limits, outlook)}${workers > SHARDS_MAX ? '; that is more than one cluster holds: cut into several clusters, by network or by asset' : ''}`,
    limits,
    growth: { bytes_per_week: bytesPerWeek, rows_per_week: rowsOf(grown) },
    workers,
    shards,
    skew: facts.skew === null ? null : judgeSkew(facts.skew, shards),
  };
};

/** What a set's closed weeks of late were like, on average. */
interface Growth {
  readonly set: SetFacts;
  readonly bytes: number;
  readonly rows: number | null;
  readonly index_bytes: number;
}

const growthOf = (set: SetFacts, now: Date): Growth => {
  const filled = set.weeks.filter(({ upper, heap_bytes }) => upper <= now && heap_bytes > 0);
  // History that ended long ago tells as much as a present that has hardly begun.
  const recent = filled.toSorted((a, b) => b.lower.getTime() - a.lower.getTime()).slice(0, GROWTH_WEEKS);
  const mean = (values: readonly number[]): number =>
    values.length === 0 ? 0 : total(values) / values.length;
  const counts = recent.flatMap(({ rows }) => rows ?? []);
  return {
    set,
    bytes: mean(recent.map(({ heap_bytes, index_bytes }) => heap_bytes + index_bytes)),
    rows: counts.length < recent.length ? null : mean(counts),
    index_bytes: mean(recent.map(({ index_bytes }) => index_bytes)),
  };
};

const diskLimit = (
  { server }: TopologyFacts,
  grown: readonly Growth[],
  machine: Machine,
  { weeks, times }: Outlook,
): Limit => {
  const added = total(
    grown.map(({ set, bytes }) => {
      const filled = set.weeks.filter(({ heap_bytes }) => heap_bytes > 0).length;
      const fresh = Math.min(weeks, set.retain_weeks ?? weeks);
      const kept =
        set.retain_weeks === null ? filled : Math.max(0, Math.min(filled, set.retain_weeks - fresh));
      return bytes * (fresh * times + kept - filled);
    }),
  );
  const largest = Math.max(0, ...grown.map(({ bytes }) => bytes)) * times;
  const wanted = server.database_bytes + added + largest;
  return limitOf(
    'disk',
    wanted,
    machine.disk_bytes,
    USABLE.disk,
    'bytes',
    `the database in ${weeks} weeks, and room to consolidate a week beside it`,
  );
};

const memoryLimit = (
  server: ServerFacts,
  grown: readonly Growth[],
  machine: Machine,
  { times }: Outlook,
): Limit =>
  limitOf(
    'memory',
    total(grown.map(({ index_bytes }) => index_bytes)) * times + server.state_bytes * times,
    machine.memory_bytes,
    USABLE.memory,
    'bytes',
    'keys of the present week and the state: rows come in the order of time, keys lie in the order of accounts',
  );

const writerLimit = ({ server }: TopologyFacts, grown: readonly Growth[], { times }: Outlook): Limit => {
  const changes = grown.filter(({ set }) => set.name === 'balance_changes' || set.name === 'snapshot_rows');
  const rows = rowsOf(changes);
  const wanted = ((rows ?? 0) / WEEK_S) * PEAK * times;
  const writers = rows === null ? null : Math.max(1, server.streams) * WRITER_ROWS_S;
  return limitOf(
    'writer',
    wanted,
    writers,
    1,
    'rows/s',
    `the busiest hour, reckoned as ${PEAK} times the mean; one stream is one writer`,
  );
};

const locksLimit = ({ server, sets }: TopologyFacts, { now, weeks }: Outlook): Limit => {
  const most = Math.max(
    0,
    ...sets.map((set) => {
      const leaves = total(set.weeks.map((week) => Math.max(1, week.leaves)));
      const perWeek = leaves / Math.max(1, set.weeks.length);
      const ahead = set.weeks.filter(({ upper }) => upper.getTime() > now.getTime() + WEEK_MS).length;
      const kept =
        set.retain_weeks === null
          ? set.weeks.length + Math.max(0, weeks - ahead)
          : Math.max(set.weeks.length, set.retain_weeks);
      return kept * perWeek;
    }),
  );
  return limitOf(
    'locks',
    most * LOCKS_PER_LEAF * UNPRUNED_QUERIES,
    server.lock_capacity,
    USABLE.locks,
    'locks',
    `${UNPRUNED_QUERIES} queries without bounds at once; consolidate weeks, or raise max_locks_per_transaction (now ${server.max_locks_per_transaction})`,
  );
};

const limitOf = (
  limit: Limit['limit'],
  wanted: number,
  all: number | null,
  usableShare: number,
  unit: Limit['unit'],
  says: string,
): Limit => {
  const usable = all === null ? null : all * usableShare;
  return {
    limit,
    wanted: Math.round(wanted),
    usable: usable === null ? null : Math.round(usable),
    unit,
    share: usable === null ? null : wanted / usable,
    says,
  };
};

const verdictText = (
  verdict: Advice['verdict'],
  limits: readonly Limit[],
  { weeks, times }: Outlook,
): string => {
  const grown = `in ${weeks} weeks${times === 1 ? '' : ` at ${times} times the rows`}`;
  const [first] = limits
    .filter(({ limit, share }) => limit !== 'locks' && share !== null)
    .toSorted((a, b) => b.share! - a.share!);
  if (verdict === 'unknown') return 'nothing is known of the machine: give --cores, --memory and --disk';
  const most = `${first!.limit} will be ${Math.round(first!.share! * 100)} % of what may be planned with`;
  if (verdict === 'one machine') return `one machine is enough: ${grown} ${most}`;
  return verdict === 'soon several'
    ? `one machine is still enough, but prepare for several: ${grown} ${most}`
    : `one machine is not enough: ${grown} ${most}`;
};

/**
 * The fullest shard: the account with the most rows and its share of all others.
 *
 * An account lives in one shard whole, so more shards do not divide it.
 */
export const judgeSkew = (skew: Skew, shards: number): SkewAdvice => {
  const [first] = skew.top;
  const share = first === undefined || skew.sampled === 0 ? 0 : first.rows / skew.sampled;
  const fullest = 1 + share * (shards - 1);
  const hot = fullest > HOT;
  const percent = `${(share * 100).toFixed(1)} %`;
  return {
    ...skew,
    fullest,
    hot,
    says: hot
      ? `${first!.account} makes ${percent} of the rows: with ${shards} shards its shard is ${fullest.toFixed(1)} times the mean, and more shards do not divide it`
      : `no account makes more than ${percent} of the rows: ${shards} shards fill evenly`,
  };
};

const rowsOf = (grown: readonly Growth[]): number | null =>
  grown.some(({ rows, bytes }) => rows === null && bytes > 0)
    ? null
    : total(grown.map(({ rows }) => rows ?? 0));

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
