/**
 * The strata map as data: each week of each set in one state, gaps and runway included. Pure: facts in, map out.
 *
 * ```
 *   ahead ──► hot ──► closed ──► consolidating ──► consolidated ──► held ──► dropped
 *   loading ──────────┘
 * ```
 */
import { instantOf, instantText, weekOf, weekStart } from '../../runtime/instant.ts';
import type {
  Atlas,
  AtlasApart,
  AtlasHeld,
  AtlasLeaf,
  AtlasProof,
  AtlasSet,
  AtlasWeek,
  AtlasWork,
  TableSize,
} from './atlas.ts';

/**
 * What a week is; `loading` is history beside the set, `gap` a week that ought to be there, `unreached` one of the past that has
 * none because no rows have come so far, `other` a partition that is not one whole week.
 */
export type StratumState =
  | 'ahead'
  | 'hot'
  | 'loading'
  | 'closed'
  | 'consolidating'
  | 'consolidated'
  | 'held'
  | 'dropped'
  | 'gap'
  | 'unreached'
  | 'other';

/** One week of the map; missing ones may be several. */
export interface Stratum {
  /** ISO instant of its first moment; null for a DEFAULT partition. */
  readonly start: string | null;
  readonly end: string | null;
  readonly name: string;
  readonly state: StratumState;
  /** Of missing ones: how many. */
  readonly weeks: number;
  readonly bytes: number | null;
  /** As of the last ANALYZE; null before it. */
  readonly rows: number | null;
  /** Bytes of each table in the order of its hash partitions; null until it was measured. */
  readonly leaves: readonly (number | null)[];
  /** How far the consolidation or the load has come, where one is under way. */
  readonly step: string | null;
  readonly error: string | null;
  /** Until when what was put aside can be put back; ISO. */
  readonly held_until: string | null;
  readonly proof: StratumProof | null;
}

/** What the journal keeps of a consolidation. */
export interface StratumProof {
  readonly rows: number | null;
  readonly hash: string | null;
  readonly bytes_before: number | null;
  readonly bytes_after: number | null;
  readonly root_locked_ms: number | null;
  readonly at: string;
}

/** One set. */
export interface SetMap {
  readonly set: string;
  readonly root: string;
  readonly cut: string;
  readonly modulus: number;
  readonly strata: readonly Stratum[];
  /** How many weeks are in each state. */
  readonly counts: Readonly<Partial<Record<StratumState, number>>>;
  /** Whole weeks behind the present one that are there without a gap; −1 when the present one is missing. */
  readonly runway_weeks: number;
  readonly premake: number;
  /** Of what is attached; null until it was measured. */
  readonly bytes: number | null;
  readonly held_bytes: number;
}

/** Sizes by table. */
export type Sizes = ReadonlyMap<number, TableSize>;

const iso = (date: Date | null): string | null => date?.toISOString() ?? null;

/** The map of every set. */
export const drawMap = (atlas: Atlas, sizes: Sizes): readonly SetMap[] =>
  atlas.sets.map((set) => {
    const own = <T extends { readonly set: string }>(rows: readonly T[]): readonly T[] =>
      rows.filter((row) => row.set === set.set);
    const attached = own(atlas.weeks).map((week) =>
      drawWeek(week, {
        now: atlas.now,
        frontiers: atlas.frontiers,
        sizes,
        work: byStart(own(atlas.work)),
        aside: byStart(own(atlas.held).filter(({ reason }) => reason === 'consolidated')),
        proofs: byStart(own(atlas.proofs)),
      }),
    );
    const there = new Set(attached.map(({ start }) => start));
    const out = own(atlas.held)
      .filter(({ reason, lower }) => reason !== 'consolidated' && !there.has(iso(lower)))
      .map(drawHeld);
    const apart = own(atlas.apart).map((week) => drawApart(week, sizes));
    const strata = fillGaps([...attached, ...apart, ...out].toSorted(byTime), set, atlas);
    return {
      set: set.set,
      root: set.root,
      cut: set.cut,
      modulus: set.modulus,
      premake: set.premake,
      strata,
      counts: countStates(strata),
      runway_weeks: runwayOf(strata, atlas.now),
      bytes: sum(attached.map(({ bytes }) => bytes)),
      held_bytes: own(atlas.held).reduce(
        (total, { bytes, state }) => total + (state === 'dropped' ? 0 : (bytes ?? 0)),
        0,
      ),
    };
  });

const byStart = <T extends { readonly lower: Date }>(rows: readonly T[]): ReadonlyMap<number, T> =>
  new Map(rows.map((row) => [row.lower.getTime(), row]));

/** A DEFAULT partition comes last. */
const byTime = (a: Stratum, b: Stratum): number =>
  (a.start ?? '~') < (b.start ?? '~') ? -1 : a.start === b.start ? 0 : 1;

/** The sum, or null where one is not known. */
const sum = (values: readonly (number | null)[]): number | null =>
  values.every((value) => value !== null) ? values.reduce((total, value) => total + value, 0) : null;

/** What is known of the weeks of one set. */
interface Known {
  readonly now: Date;
  readonly frontiers: readonly Date[];
  readonly sizes: Sizes;
  readonly work: ReadonlyMap<number, AtlasWork>;
  readonly aside: ReadonlyMap<number, AtlasHeld>;
  readonly proofs: ReadonlyMap<number, AtlasProof>;
}

const drawWeek = (week: AtlasWeek, known: Known): Stratum => {
  const at = week.lower?.getTime() ?? Number.NaN;
  const work = known.work.get(at) ?? null;
  const aside = known.aside.get(at) ?? null;
  const leaves = week.leaves.map(({ oid }) => known.sizes.get(oid)?.bytes ?? null);
  return {
    start: iso(week.lower),
    end: iso(week.upper),
    name: week.name,
    state: work === null ? stateOf(week, known) : 'consolidating',
    weeks: 1,
    bytes: sum(leaves),
    rows: sum(week.leaves.map((leaf) => rowsOf(leaf, known.sizes.get(leaf.oid)))),
    leaves,
    step: work?.step ?? null,
    error: work?.error ?? null,
    held_until: iso(aside?.drop_after ?? null),
    proof: proofOf(known.proofs.get(at)),
  };
};

/** Rows of a table: those in its shards, where it has some. */
const rowsOf = (leaf: AtlasLeaf, size: TableSize | undefined): number | null =>
  size?.rows !== undefined ? size.rows : leaf.rows < 0 ? null : leaf.rows;

const stateOf = (week: AtlasWeek, { now, frontiers }: Known): StratumState => {
  const { lower, upper, leaves } = week;
  if (lower === null || upper === null || week.relkind === 'f' || !isWeek(lower, upper)) return 'other';
  const holds = (instant: Date): boolean => lower <= instant && instant < upper;
  if (week.relkind === 'r' || (leaves.length === 1 && leaves[0]?.name === `${week.name}_consolidated`))
    return 'consolidated';
  if (holds(now) || frontiers.some(holds)) return 'hot';
  return lower > now ? 'ahead' : 'closed';
};

const isWeek = (lower: Date, upper: Date): boolean =>
  weekStart(weekOf(instantOf(lower))) === instantOf(lower) &&
  weekOf(instantOf(upper)) === weekOf(instantOf(lower)) + 1;

const proofOf = (proof: AtlasProof | undefined): StratumProof | null =>
  proof === undefined
    ? null
    : {
        rows: proof.rows,
        hash: proof.hash,
        bytes_before: proof.bytes_before,
        bytes_after: proof.bytes_after,
        root_locked_ms: proof.root_locked_ms,
        at: proof.swapped_at.toISOString(),
      };

/** One week of which nothing is known. */
const NOTHING: Omit<Stratum, 'start' | 'end' | 'state'> = {
  name: '',
  weeks: 1,
  bytes: null,
  rows: null,
  leaves: [],
  step: null,
  error: null,
  held_until: null,
  proof: null,
};

const drawHeld = (held: AtlasHeld): Stratum => ({
  ...NOTHING,
  start: iso(held.lower),
  end: iso(held.upper),
  name: held.name,
  state: held.state === 'dropped' ? 'dropped' : 'held',
  bytes: held.state === 'dropped' ? null : held.bytes,
  rows: held.rows,
  step: held.state === 'detaching' ? 'detaching' : null,
  held_until: held.state === 'dropped' ? null : iso(held.drop_after),
});

const drawApart = (week: AtlasApart, sizes: Sizes): Stratum => ({
  ...NOTHING,
  start: iso(week.lower),
  end: iso(week.upper),
  name: week.name,
  state: 'loading',
  leaves: week.leaves.map((oid) => sizes.get(oid)?.bytes ?? null),
  bytes: sum(week.leaves.map((oid) => sizes.get(oid)?.bytes ?? null)),
  step: week.step,
  error: week.error,
});

type Missing = Extract<StratumState, 'gap' | 'unreached'>;

const missingOf = (state: Missing, first: number, weeks: number): Stratum => ({
  ...NOTHING,
  start: new Date(instantText(weekStart(first))).toISOString(),
  end: new Date(instantText(weekStart(first + weeks))).toISOString(),
  state,
  weeks,
});

/** Up to here a run of missing weeks is shown one by one; a longer one is one mark. */
const MISSING_SHOWN_MAX = 4;

const runOf = (state: Missing, first: number, behind: number): Stratum[] =>
  behind - first > MISSING_SHOWN_MAX
    ? [missingOf(state, first, behind - first)]
    : Array.from({ length: Math.max(0, behind - first) }, (_none, index) =>
        missingOf(state, first + index, 1),
      );

/** The last week that is known to have rows: what is missing before it was passed by. */
const lastReached = (strata: readonly Stratum[], frontiers: readonly Date[]): number =>
  Math.max(
    Number.NEGATIVE_INFINITY,
    ...frontiers.map((at) => weekOf(instantOf(at))),
    ...strata.flatMap(({ start, rows }) =>
      start !== null && (rows ?? 0) > 0 ? [weekOf(instantOf(new Date(start)))] : [],
    ),
  );

/**
 * Puts the missing weeks in: between the first week that is there and the last that should be by now. What retention has taken
 * out is no gap. A set that never had a week has none to miss. Weeks of the past behind the last row are nobody's fault: a load
 * makes those that it comes to.
 */
const fillGaps = (
  strata: readonly Stratum[],
  set: AtlasSet,
  { now, frontiers }: Pick<Atlas, 'now' | 'frontiers'>,
): readonly Stratum[] => {
  const filled: Stratum[] = [];
  let next: number | null = null;
  const floor = set.retained_from === null ? Number.NEGATIVE_INFINITY : weekOf(instantOf(set.retained_from));
  const present = weekOf(instantOf(now));
  const reached = lastReached(strata, frontiers);
  const fill = (first: number, behind: number): void => {
    const passed = Math.min(behind, Math.max(first, reached));
    const due = Math.min(behind, Math.max(passed, present));
    filled.push(
      ...runOf('gap', first, passed),
      ...runOf('unreached', passed, due),
      ...runOf('gap', due, behind),
    );
  };
  for (const stratum of strata) {
    if (stratum.start !== null && stratum.end !== null && stratum.state !== 'other') {
      const week = weekOf(instantOf(new Date(stratum.start)));
      if (next !== null) fill(Math.max(next, floor), week);
      next = week + 1;
    }
    filled.push(stratum);
  }
  if (next !== null) fill(next, present + 1 + set.premake);
  return filled;
};

const countStates = (strata: readonly Stratum[]): Partial<Record<StratumState, number>> => {
  const counts: Partial<Record<StratumState, number>> = {};
  for (const { state, weeks } of strata) counts[state] = (counts[state] ?? 0) + weeks;
  return counts;
};

const ATTACHED: ReadonlySet<StratumState> = new Set([
  'ahead',
  'hot',
  'closed',
  'consolidating',
  'consolidated',
]);

const runwayOf = (strata: readonly Stratum[], now: Date): number => {
  const there = new Set(
    strata.flatMap(({ state, start }) =>
      start !== null && ATTACHED.has(state) ? [weekOf(instantOf(new Date(start)))] : [],
    ),
  );
  let runway = -1;
  for (let week = weekOf(instantOf(now)); there.has(week); week++) runway++;
  return runway;
};
