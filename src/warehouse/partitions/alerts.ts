/** What there is to say of the managed sets, judged from facts alone: each alert with its remedy. */
import type { Finding } from '../finding.ts';
import { liesInShards, type WeekInfo, type WeekKind } from './weeks.ts';

/** A finding about one managed set, or (null) about what all of them share. */
export interface Alert extends Finding {
  readonly set: string | null;
}

/** The check whose alerts say that the last run of a verb failed; `pgstrata status` exits 1 on it. */
export const FAILED_RUN = 'maintenance run';

/** A partition as the watch needs it. */
export type WatchedWeek = Pick<
  WeekInfo,
  'name' | 'lower' | 'upper' | 'leaves' | 'total_bytes' | 'detach_pending'
> & {
  readonly kind: WeekKind;
  readonly largest_leaf: number;
  /** Whether rows were ever written into it, as far as this server can see. */
  readonly used: boolean;
};

/** All that is known of a set. */
export interface WatchedSet {
  readonly set: string;
  readonly root: string;
  readonly premake: number;
  readonly size_alert: number;
  /** Weeks that end by this are to be consolidated; null for never. */
  readonly consolidate_before: Date | null;
  /** Whether weeks of age are stored by column: on a cluster that can, in the set whose rows are only added. */
  readonly by_column: boolean;
  readonly weeks: readonly WatchedWeek[];
  /** Held tables whose time has passed, and weeks a retention has begun to take out. */
  readonly overdue: readonly string[];
  readonly detaching: readonly string[];
  /** Consolidations that have not come to their swap, with the step they are at. */
  readonly unfinished: readonly string[];
  readonly failures: readonly { readonly verb: string; readonly error: string | null; readonly at: Date }[];
}

/** The server's room for locks, and what the largest set needs. */
export interface LockRoom {
  readonly max_locks_per_transaction: number;
  /** Locks that the shared table holds. */
  readonly capacity: number;
  readonly max_connections: number;
  /** Whether the database's sessions plan prepared statements anew each time. */
  readonly custom_plans: boolean;
  readonly largest: { readonly set: string; readonly leaves: number } | null;
}

/** What there is to say of one set. */
export const judgeSet = (facts: WatchedSet, now: Date): Alert[] => [
  ...judgeForm(facts),
  ...judgeCover(facts, now),
  ...judgeSizes(facts),
  ...judgeAge(facts),
  ...judgeJournal(facts),
];

const alert = (
  set: string | null,
  state: 'warning' | 'fault',
  check: string,
  says: string,
  remedy: string,
): Alert => ({ set, check, state, says, remedy });

/** Names listed in full up to here. */
const LISTED_MAX = 3;

const listOf = (names: readonly string[]): string =>
  names.length <= LISTED_MAX
    ? names.join(', ')
    : `${names.slice(0, LISTED_MAX).join(', ')} and ${names.length - LISTED_MAX} more`;

const judgeForm = ({ set, root, weeks }: WatchedSet): Alert[] => {
  const named = (test: (week: WatchedWeek) => boolean): string[] =>
    weeks.filter(test).map((week) => week.name);
  const standIn = named((week) => week.kind === 'default');
  const strange = named((week) => week.kind === 'odd' || week.kind === 'foreign');
  const pending = named((week) => week.detach_pending);
  return [
    ...(standIn.length > 0
      ? [
          alert(
            set,
            'fault',
            'default partition',
            `${root} has a DEFAULT partition, ${listOf(standIn)}: every new week scans it under a lock, and nothing can be detached concurrently`,
            `Move its rows into weeks (strata.ensure_weeks), then: alter table ${root} detach partition ${standIn[0] ?? ''}.`,
          ),
        ]
      : []),
    ...(strange.length > 0
      ? [
          alert(
            set,
            'warning',
            'foreign partitions',
            `${listOf(strange)} of ${root} ${strange.length === 1 ? 'is' : 'are'} no whole week, or no table of this server`,
            'Maintenance leaves them alone: merge, move or drop them yourself.',
          ),
        ]
      : []),
    ...(pending.length > 0
      ? [
          alert(
            set,
            'fault',
            'pending detach',
            `a DETACH CONCURRENTLY of ${listOf(pending)} was interrupted: its rows are invisible, and nothing else can be detached`,
            `Run \`pgstrata maintain retain --set ${set}\`, or: alter table ${root} detach partition ${pending[0] ?? ''} finalize.`,
          ),
        ]
      : []),
  ];
};

type Range = WatchedWeek & { readonly lower: Date; readonly upper: Date };

const WEEK_MS = 7 * 86_400_000;

const judgeCover = ({ set, premake, weeks }: WatchedSet, now: Date): Alert[] => {
  const ranges = weeks.filter(
    (week): week is Range => week.lower !== null && week.upper !== null && !week.detach_pending,
  );
  if (ranges.length === 0) return [];
  // Weeks that no row has come to are not missing: a load makes those that it comes to.
  const reached = ranges.findLastIndex(({ used }) => used);
  const gaps = ranges.slice(0, reached + 1).flatMap((range, index) => {
    const next = ranges[index + 1];
    return index === reached || next === undefined || next.lower <= range.upper
      ? []
      : [`${range.upper.toISOString().slice(0, 10)} to ${next.lower.toISOString().slice(0, 10)}`];
  });
  const end = coveredUntil(ranges, now);
  const ahead = end === null ? -1 : Math.floor((end.getTime() - now.getTime()) / WEEK_MS);
  return [
    ...(gaps.length > 0
      ? [
          alert(
            set,
            'warning',
            'gaps',
            `there are no weeks from ${listOf(gaps)}`,
            `Where rows of that time are expected: select * from strata.ensure_weeks('${set}', FROM, TO). Loads make the weeks they need.`,
          ),
        ]
      : []),
    ...(ahead < premake
      ? [
          alert(
            set,
            'warning',
            'runway',
            ahead < 0
              ? 'there is no week for the present'
              : `weeks are made ${ahead} ahead of the present one, not ${premake}`,
            `Run \`pgstrata maintain ensure --set ${set}\`, or let the scheduler do it.`,
          ),
        ]
      : []),
  ];
};

/** The end of the unbroken run of partitions that holds the present; null when none does. */
const coveredUntil = (ranges: readonly Range[], now: Date): Date | null => {
  let end: Date | null = null;
  for (const range of ranges) {
    if (end === null ? range.lower <= now && now < range.upper : range.lower <= end) end = range.upper;
  }
  return end;
};

/** A leaf this much larger than the mean of its week is skewed; of small weeks nobody cares. */
const SKEW_FACTOR = 2;
const SKEW_BYTES_MIN = 64_000_000;

/** What one vacuum or index build has to do with at once: the week, or its largest shard. */
const weightOf = ({ kind, total_bytes, largest_leaf }: WatchedWeek): number =>
  liesInShards(kind) ? largest_leaf : total_bytes;

const judgeSizes = ({ set, size_alert, weeks }: WatchedSet): Alert[] => {
  const large = weeks
    .filter((week) => weightOf(week) > size_alert)
    .toSorted((a, b) => weightOf(b) - weightOf(a));
  const sharded = large.some(({ kind }) => liesInShards(kind));
  const skewed = weeks.filter(
    ({ leaves, total_bytes, largest_leaf }) =>
      leaves > 1 && total_bytes >= SKEW_BYTES_MIN && largest_leaf > (SKEW_FACTOR * total_bytes) / leaves,
  );
  return [
    ...(large.length > 0
      ? [
          alert(
            set,
            'warning',
            'size',
            `${large.length === 1 ? (sharded ? 'a week has a shard' : 'a partition is') : `${large.length} ${sharded ? 'weeks have a shard' : 'partitions are'}`} over ${megabytes(size_alert)}: ${listOf(large.map((week) => `${week.name} (${megabytes(weightOf(week))})`))}`,
            sharded
              ? 'Raise `size_alert`, or cut the shards smaller: `pgstrata plan-topology` says which are too full.'
              : `Consolidate old ones, raise \`partitions.${set}.modulus\` for new ones, or raise \`size_alert\`.`,
          ),
        ]
      : []),
    ...(skewed.length > 0
      ? [
          alert(
            set,
            'warning',
            'skew',
            `one leaf is more than ${SKEW_FACTOR} times the mean of its week in ${listOf(skewed.map((week) => week.name))}`,
            'Few keys have most of the rows: another hash column or list groups would spread them; consolidation ends it for old weeks.',
          ),
        ]
      : []),
  ];
};

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6).toLocaleString('en')} MB`;

const judgeAge = ({ set, consolidate_before: before, by_column, weeks, unfinished }: WatchedSet): Alert[] => {
  const old =
    before === null
      ? []
      : weeks.filter(
          ({ kind, leaves, upper }) =>
            (((kind === 'hash' || kind === 'list') && leaves > 1) || (kind === 'sharded' && by_column)) &&
            upper !== null &&
            upper <= before,
        );
  return [
    ...(old.length > 0
      ? [
          alert(
            set,
            'warning',
            'unconsolidated weeks',
            `${old.length === 1 ? 'a week is' : `${old.length} weeks are`} old enough to be ${old[0]?.kind === 'sharded' ? 'stored by column' : 'one table'}: ${listOf(old.map((week) => week.name))}`,
            `Run \`pgstrata maintain consolidate --set ${set}\`.`,
          ),
        ]
      : []),
    ...(unfinished.length > 0
      ? [
          alert(
            set,
            'warning',
            'unfinished consolidations',
            listOf(unfinished),
            `Run \`pgstrata maintain consolidate --set ${set}\`: it goes on, or takes back what was begun.`,
          ),
        ]
      : []),
  ];
};

const judgeJournal = ({ set, overdue, detaching, failures }: WatchedSet): Alert[] => [
  ...(detaching.length > 0
    ? [
        alert(
          set,
          'warning',
          'unfinished retention',
          `${listOf(detaching)} ${detaching.length === 1 ? 'is' : 'are'} on the way out`,
          `Run \`pgstrata maintain retain --set ${set}\`: it goes on from there.`,
        ),
      ]
    : []),
  ...(overdue.length > 0
    ? [
        alert(
          set,
          'warning',
          'held tables',
          `${listOf(overdue)} in strata_held ${overdue.length === 1 ? 'has' : 'have'} been kept longer than the policy holds them`,
          `Run \`pgstrata maintain retain --set ${set}\`, which drops them.`,
        ),
      ]
    : []),
  ...failures.map(({ verb, error, at }) =>
    alert(
      set,
      'fault',
      FAILED_RUN,
      `the last ${verb} failed at ${at.toISOString()}: ${error ?? 'nobody knows why'}`,
      `Mend the cause and run \`pgstrata maintain ${verb} --set ${set}\`; strata.maintenance_runs has its plan.`,
    ),
  ),
];

/** Locks of a leaf in a plan that is not pruned: the leaf and its indexes, its share of the week's (measured: 3,381 for 1,040). */
const LOCKS_PER_LEAF = 3.25;
/** As many sessions should be able to do that at once. */
const SESSIONS_MIN = 16;
/** From here on a generic plan is worth a warning. */
const LEAVES_MANY = 200;

/** What there is to say of the lock table and of prepared statements. */
export const judgeLocks = ({
  largest,
  capacity,
  max_connections,
  custom_plans,
  max_locks_per_transaction,
}: LockRoom): Alert[] => {
  if (largest === null || largest.leaves === 0) return [];
  const need = Math.ceil(largest.leaves * LOCKS_PER_LEAF);
  const sessions = Math.floor(capacity / need);
  const wanted = Math.min(SESSIONS_MIN, max_connections);
  const enough = Math.ceil((max_locks_per_transaction * wanted * need) / capacity);
  return [
    ...(sessions < wanted
      ? [
          alert(
            null,
            'warning',
            'locks',
            `an unpruned query of ${largest.set} takes about ${need} locks; ${sessions} at once fill the lock table`,
            `Set max_locks_per_transaction to ${enough} or more and restart; query with literal times; consolidate old weeks.`,
          ),
        ]
      : []),
    ...(largest.leaves >= LEAVES_MANY && !custom_plans
      ? [
          alert(
            null,
            'warning',
            'prepared statements',
            `after five runs a prepared statement on ${largest.set} may get a generic plan, which locks all ${largest.leaves} leaves`,
            "For sessions that query it so: set plan_cache_mode = force_custom_plan (alter database … set, alter role … set). pgstrata's own do.",
          ),
        ]
      : []),
  ];
};
