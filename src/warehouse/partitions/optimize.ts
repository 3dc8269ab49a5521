/**
 * The verb `optimize`: statistics of the parents, which autovacuum never gathers, and closed weeks frozen until every page is
 * proven all-visible, so that index-only scans read no heap and no later vacuum has to.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';
import { asMaintainer, eachStep, type ApplyOptions } from './apply.ts';
import { BRIEF, carryOut } from './carry-out.ts';
import { basisOf, refuseStale, unknownSet, type Plan, type Step } from './plan.ts';

/** What to optimize. */
export interface OptimizeOptions {
  /** The present instant: weeks are closed a day after their end. */
  readonly now: Date;
}

/** Weeks and bytes that one run vacuums at most; one week is always taken. */
export const OPTIMIZE_WEEKS_MAX = 12;
export const OPTIMIZE_BYTES_MAX = 20_000_000_000;

/** A week takes rows in order for this long after its end. */
const CLOSED_AFTER_MS = 86_400_000;

/** The parent's statistics are gathered again after this long, or when its rows have become this much more or less. */
const ANALYZE_AFTER_MS = 7 * 86_400_000;
const ANALYZE_SHARE = 0.1;

/** `ANALYZE ONLY` came with PostgreSQL 18: of the parent alone. */
const ANALYZE_ONLY_SINCE = 180_000;

/** A week of a set as vacuum sees it. */
export interface WeekHeap {
  readonly name: string;
  readonly qualified: string;
  readonly lower: Date;
  readonly upper: Date;
  readonly bytes: number;
  readonly rows: number | null;
  /** Pages there are; those that the last vacuum knew all-visible. */
  readonly pages: number;
  readonly visible_pages: number;
  /** Rows written, or made dead, since. */
  readonly touched: number;
}

/** All that a plan to optimize rests on. */
export interface OptimizeFacts {
  readonly root: string;
  readonly version: number;
  readonly analyzed_at: Date | null;
  /** Rows that the parent's statistics know of, and the sum over the leaves; null before the first ANALYZE. */
  readonly root_rows: number | null;
  readonly leaf_rows: number | null;
  readonly weeks: readonly WeekHeap[];
}

/**
 * Plans the optimization of a set; reads only. What is beyond the bounds of one run is left to the next.
 *
 * @throws WarehouseError `config` when there is no such set
 */
export const planOptimize = async (pool: Pool, set: string, { now }: OptimizeOptions): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  return { verb: 'optimize', set, basis, ...optimizeSteps(await readFacts(pool, set), now) };
};

/** The steps and notes that follow from the facts. */
export const optimizeSteps = (facts: OptimizeFacts, now: Date): Pick<Plan, 'steps' | 'notes'> => {
  const closed = facts.weeks.filter((week) => week.upper.getTime() + CLOSED_AFTER_MS <= now.getTime());
  const due = closed.filter((week) => week.visible_pages < week.pages || week.touched > 0);
  const taken: WeekHeap[] = [];
  let bytes = 0;
  for (const week of due) {
    bytes += week.bytes;
    if (taken.length === OPTIMIZE_WEEKS_MAX || (taken.length > 0 && bytes > OPTIMIZE_BYTES_MAX)) break;
    taken.push(week);
  }
  const left = due.length - taken.length;
  return {
    steps: [...taken.map(vacuumStep), ...(isAnalyzeDue(facts, now) ? [analyzeStep(facts)] : [])],
    notes: [
      ...(left > 0 ? [`${left} more closed weeks are left to the next run`] : []),
      ...(closed.length > 0 && due.length === 0
        ? [`all ${closed.length} closed weeks are frozen and all-visible`]
        : []),
    ],
  };
};

const isAnalyzeDue = ({ analyzed_at, root_rows, leaf_rows, weeks }: OptimizeFacts, now: Date): boolean => {
  if (weeks.length === 0) return false;
  if (analyzed_at === null || root_rows === null) return true;
  if (now.getTime() - analyzed_at.getTime() > ANALYZE_AFTER_MS) return true;
  return Math.abs((leaf_rows ?? 0) - root_rows) > ANALYZE_SHARE * Math.max(root_rows, 1);
};

const analyzeStep = ({ root, version, leaf_rows }: OptimizeFacts): Step => ({
  name: `analyze ${root}`,
  week: null,
  sql: [version >= ANALYZE_ONLY_SINCE ? `analyze only ${root}` : `analyze ${root}`],
  locks: [{ relation: root, mode: 'SHARE UPDATE EXCLUSIVE', held: 'step' }],
  rows: leaf_rows,
  bytes: null,
  why:
    version >= ANALYZE_ONLY_SINCE
      ? 'autovacuum never analyzes a partitioned table; a sample over all its leaves'
      : 'autovacuum never analyzes a partitioned table; before PostgreSQL 18 this analyzes every leaf as well',
});

const vacuumStep = (week: WeekHeap): Step => ({
  name: `vacuum ${week.name}`,
  week: week.lower.toISOString(),
  sql: [`vacuum (freeze, analyze) ${week.qualified}`],
  locks: [{ relation: week.qualified, mode: 'SHARE UPDATE EXCLUSIVE', held: 'step' }],
  rows: week.rows,
  bytes: week.bytes,
  why: `it is closed, and ${week.pages - week.visible_pages} of its ${week.pages} pages are not known to be all-visible; repeated until they are, or somebody is named who keeps them from it`,
});

/** What became of a week. */
export interface OptimizedWeek {
  readonly week: string;
  readonly pages: number;
  readonly visible_pages: number;
  /** Whether every page is all-visible: relallvisible = relpages. */
  readonly proven: boolean;
  /** Why not: transactions, slots or prepared transactions that still need old rows. */
  readonly held_back_by: string | null;
}

/** What was done. */
export interface Optimized {
  readonly set: string;
  readonly analyzed: boolean;
  readonly weeks: readonly OptimizedWeek[];
}

/** Vacuums of one week; a page may be pinned by a reader just then. */
const VACUUM_TRIES = 3;
const VACUUM_PAUSE_MS = 500;

/**
 * Carries the plan out. A week that an old snapshot keeps from being proven is no failure: the result says who holds it.
 *
 * @throws WarehouseError `conflict` when another maintainer is at work or the plan is out of date, `cancelled` when stopped
 */
export const applyOptimize = (pool: Pool, plan: Plan, options: ApplyOptions): Promise<Optimized> =>
  asMaintainer(pool, plan.set, options.signal, async (signal, client) => {
    await refuseStale(client, plan);
    const weeks: OptimizedWeek[] = [];
    let analyzed = false;
    await eachStep(plan.steps, { ...options, signal }, async (step) => {
      if (step.week === null) {
        await carryOut(client, step, BRIEF, signal);
        analyzed = true;
      } else weeks.push(await vacuum(client, plan.set, step, signal));
    });
    return { set: plan.set, analyzed, weeks };
  });

const vacuum = async (
  client: Client,
  set: string,
  step: Step,
  signal: AbortSignal,
): Promise<OptimizedWeek> => {
  const name = step.name.slice('vacuum '.length);
  for (let tried = 1; ; tried++) {
    await carryOut(client, step, BRIEF, signal);
    const { rows } = await sql<{ pages: number; visible_pages: number }>`
      select w.pages, w.visible_pages from strata.week_info(${set}) w where w.partition_name = ${name}`.execute(
      on(client),
    );
    const { pages, visible_pages } = rows[0] ?? { pages: 0, visible_pages: 0 };
    const proven = pages === visible_pages;
    const holders = proven ? null : await holdersOfOldRows(client);
    if (proven || holders !== null || tried === VACUUM_TRIES)
      return { week: name, pages, visible_pages, proven, held_back_by: holders };
    await pause(VACUUM_PAUSE_MS, undefined, { signal }).catch(() => undefined); // the next statement says it was stopped
  }
};

/** Who keeps vacuum from taking rows for settled: seen of other roles' sessions only with pg_read_all_stats. */
const holdersOfOldRows = async (client: Client): Promise<string | null> => {
  const { rows } = await sql<{ who: string | null }>`
    select string_agg(h.who, ', ') as who from (
      select format('pid %s (%s, since %s)', a.pid, coalesce(nullif(a.application_name, ''), a.usename), a.xact_start) as who
        from pg_stat_activity a where a.backend_xmin is not null and a.pid <> pg_backend_pid()
      union all
      select format('prepared transaction %s', p.gid) from pg_prepared_xacts p
      union all
      select format('replication slot %s', s.slot_name) from pg_replication_slots s where s.xmin is not null
    ) h`.execute(on(client));
  return rows[0]?.who ?? null;
};

const readFacts = async (pool: Pool, set: string): Promise<OptimizeFacts> => {
  const { rows } = await sql<Omit<OptimizeFacts, 'weeks'>>`
    select format('%I.%I', n.nspname, c.relname) as root, current_setting('server_version_num')::int as version,
           greatest(st.last_analyze, st.last_autoanalyze) as analyzed_at,
           case when c.reltuples >= 0 then c.reltuples::bigint end as root_rows,
           (select sum(greatest(leaf.reltuples, ls.n_live_tup, 0))::bigint from pg_partition_tree(c.oid) t join pg_class leaf on leaf.oid = t.relid
             left join pg_stat_all_tables ls on ls.relid = t.relid
             where t.isleaf) as leaf_rows
      from strata.partition_sets s
      join pg_class c on c.oid = s.parent
      join pg_namespace n on n.oid = c.relnamespace
      left join pg_stat_all_tables st on st.relid = c.oid
     where s.set_name = ${set}`.execute(on(pool));
  const [root] = rows;
  if (root === undefined) throw unknownSet(set);
  const weeks = await sql<WeekHeap>`
    select w.partition_name as name, format('%I.%I', n.nspname, c.relname) as qualified, w.lower_bound as lower, w.upper_bound as upper,
           w.total_bytes as bytes, w.row_estimate as rows, heap.pages, w.visible_pages, heap.touched
      from strata.week_info(${set}) w
      join pg_class c on c.oid = w.partition
      join pg_namespace n on n.oid = c.relnamespace
     cross join lateral (
       select coalesce(sum(pg_relation_size(t.relid) / current_setting('block_size')::int), 0)::bigint as pages,
              coalesce(sum(st.n_dead_tup + st.n_ins_since_vacuum), 0)::bigint as touched
         from pg_partition_tree(w.partition) t left join pg_stat_all_tables st on st.relid = t.relid
        where t.isleaf
     ) heap
     where w.kind in ('hash', 'list', 'consolidated') and not w.detach_pending
     order by w.lower_bound`.execute(on(pool));
  return { ...root, weeks: weeks.rows };
};
