/** Plans consolidations: which weeks, by which steps, and why others are left alone. Reads only. */
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../../db/query.ts';
import { basisOf, unknownSet, type LockMode, type Plan, type Step, type StepLock } from '../plan.ts';
import { readWeeks, type WeekInfo } from '../weeks.ts';
import { copyStatements } from './copy.ts';
import { readOpen, type OpenConsolidation } from './journal.ts';
import { proofStatements } from './prove.ts';
import { replayStatements } from './replay.ts';
import { captureStatements, COPIED_AT, mark, stageStatements, swapStatements } from './statements.ts';
import { readWeek, type ConsolidationWeek } from './week.ts';

/** Which weeks to consolidate. */
export interface ConsolidateOptions {
  /** Starts of weeks; absent: all that are as old as the set's `consolidate_after` asks. */
  readonly weeks?: readonly Date[];
  /** The present instant. */
  readonly now: Date;
}

/**
 * Plans to merge weeks' partitions.
 *
 * @throws WarehouseError `config` when there is no such set
 */
export const planConsolidate = async (
  pool: Pool,
  set: string,
  options: ConsolidateOptions,
): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  const { due, notes } = await chooseWeeks(pool, set, options);
  const steps: Step[] = [];
  let bytes = 0;
  for (const info of due) {
    const obstacles = await readObstacles(pool, set, info);
    if (obstacles.length > 0) {
      notes.push(...obstacles.map((text) => `${info.name} is left alone: ${text}`));
      continue;
    }
    const week = await readWeek(pool, set, { oid: info.oid, lower: info.lower, upper: info.upper });
    const indexes = await readIndexStatements(pool, week.root, week.stage);
    steps.push(...weekSteps(week, info, indexes));
    bytes += info.total_bytes;
  }
  if (steps.length > 0) {
    notes.push(
      `The server needs room for ${bytes} bytes at most until the old weeks are dropped, which cannot be checked from here.`,
      ...(await readWarnings(pool)),
    );
  }
  return { verb: 'consolidate', set, basis, steps, notes };
};

/** A week with bounds. */
type WholeWeek = WeekInfo & { readonly lower: Date; readonly upper: Date };

const chooseWeeks = async (
  pool: Pool,
  set: string,
  { weeks: asked, now }: ConsolidateOptions,
): Promise<{ readonly due: readonly WholeWeek[]; readonly notes: string[] }> => {
  const { rows } = await sql<{ before: Date | null }>`
    select ${now.toISOString()}::timestamptz - consolidate_after as before from strata.partition_sets where set_name = ${set}`.execute(
    on(pool),
  );
  const [policy] = rows;
  if (policy === undefined) throw unknownSet(set);
  const weeks = await readWeeks(pool, set);
  const open = await readOpen(pool, set);
  const notes = weeks.flatMap(oddity);
  if (asked === undefined && policy.before === null)
    notes.push(`${set} has no consolidate_after: no week is ever due.`);
  for (const start of asked ?? []) {
    if (!weeks.some(({ lower }) => lower?.getTime() === start.getTime()))
      notes.push(`${set} has no week that starts at ${start.toISOString()}.`);
  }
  const due = weeks.filter((week): week is WholeWeek => {
    const { lower, upper, kind } = week;
    if (lower === null || upper === null) return false;
    if (asked === undefined) {
      if (kind !== 'hash' && kind !== 'list') return false;
      return policy.before !== null && upper <= policy.before && !noteOpen(open, week, notes);
    }
    if (!asked.some((start) => start.getTime() === lower.getTime())) return false;
    if (kind === 'hash' || kind === 'list') return !noteOpen(open, week, notes);
    notes.push(
      kind === 'sharded' || kind === 'columnar'
        ? `${week.name} is left alone: its hash partitions are the shards of the cluster, which are not merged.`
        : `${week.name} is left alone: it is ${kind} already or by nature.`,
    );
    return false;
  });
  return { due, notes };
};

const oddity = ({ name, kind }: WeekInfo): string[] =>
  kind === 'odd' || kind === 'foreign'
    ? [`${name} is left alone: it is ${kind === 'odd' ? 'not one whole week' : 'a foreign table'}.`]
    : [];

/** A week whose last attempt was broken off must be cleaned up first. */
const noteOpen = (
  open: readonly OpenConsolidation[],
  week: Pick<WeekInfo, 'name' | 'lower'>,
  notes: string[],
): boolean => {
  const found = open.find(({ lower }) => lower.getTime() === week.lower?.getTime());
  if (found !== undefined)
    notes.push(
      `${week.name} is left alone: an earlier consolidation stopped behind "${found.step}"; recover first.`,
    );
  return found !== undefined;
};

/** Why this week cannot be consolidated, each with its remedy. */
export const readObstacles = async (
  database: Pool | Client,
  set: string,
  week: Pick<WeekInfo, 'oid'>,
): Promise<readonly string[]> => {
  const { rows } = await sql<{ obstacle: string; remedy: string }>`
    select obstacle, remedy from strata.consolidation_obstacles(${set}, ${week.oid}::oid::regclass)`.execute(
    on(database),
  );
  return rows.map(({ obstacle, remedy }) => `${obstacle}. ${remedy}`);
};

/** The statements that give the stage its keys and indexes. */
const readIndexStatements = async (
  database: Pool | Client,
  source: string,
  target: string,
): Promise<readonly string[]> => {
  const { rows } = await sql<{ statement: string }>`
    select statement from strata.index_statements(${source}::regclass, ${target})`.execute(on(database));
  return rows.map(({ statement }) => statement);
};

/** What does not forbid consolidating but makes it worse. */
const readWarnings = async (pool: Pool): Promise<readonly string[]> => {
  const { rows } = await sql<{ warning: string }>`
    select format('Pid %s (%s) holds a snapshot since %s: until it ends the new tables cannot be frozen whole.', a.pid, a.application_name, date_trunc('second', clock_timestamp() - a.xact_start)) as warning
      from pg_stat_activity a
     where a.backend_xmin is not null and a.xact_start < clock_timestamp() - interval '10 minutes' and a.pid <> pg_backend_pid()
    union all
    select format('The prepared transaction %L holds a snapshot since %s: until it ends the new tables cannot be frozen whole.', x.gid, x.prepared)
      from pg_prepared_xacts x where x.database = current_database()
    union all
    select format('The publication %I is FOR ALL TABLES: it publishes the copies, too.', p.pubname) from pg_publication p where p.puballtables`.execute(
    on(pool),
  );
  return rows.map(({ warning }) => warning);
};

/** What apply does in a step; the first word of its name. */
export type Phase = 'stage' | 'capture' | 'copy' | 'freeze' | 'index' | 'replay' | 'prove' | 'swap';

/** The steps for one week. */
export const weekSteps = (
  week: ConsolidationWeek,
  size: Pick<WeekInfo, 'rows' | 'heap_bytes' | 'index_bytes'>,
  indexes: readonly string[],
): readonly Step[] => {
  const { forward, stage, root, leafNames, heapOrder } = week;
  const on_ = (relation: string, mode: LockMode, held: StepLock['held'] = 'moment'): StepLock => ({
    relation,
    mode,
    held,
  });
  const step = (
    phase: Phase,
    statements: readonly string[],
    locks: readonly StepLock[],
    extent: { readonly rows?: number | null; readonly bytes?: number | null },
    why: string,
  ): Step => ({
    name: `${phase} ${week.name}`,
    week: week.start,
    sql: statements,
    locks,
    rows: extent.rows ?? null,
    bytes: extent.bytes ?? null,
    why,
  });
  const everywhere = (mode: LockMode): readonly StepLock[] =>
    [forward.source, ...forward.parts].map((table) => on_(table, mode));
  return [
    step(
      'stage',
      stageStatements(week),
      everywhere('ACCESS SHARE'),
      {},
      `Makes the table that is to replace the ${leafNames.length} partitions, with all but their rows and indexes; one transaction with the journal row.`,
    ),
    step(
      'capture',
      captureStatements(week),
      everywhere('SHARE ROW EXCLUSIVE'),
      {},
      'From here on the keys of all rows written to this week are logged. Writers of this week wait for a moment, readers and all other weeks do not. Tried again with growing waits when it cannot have the locks at once.',
    ),
    step(
      'copy',
      [
        ...copyStatements(forward, { heap: heapOrder, timeColumn: week.timeColumn, lower: week.lower }),
        mark(week, 'copying', COPIED_AT),
      ],
      everywhere('ACCESS SHARE').map((lock) => ({ ...lock, held: 'step' })),
      { rows: size.rows, bytes: size.heap_bytes },
      'Copies all rows at one snapshot that is younger than the capture.',
    ),
    step(
      'freeze',
      [`vacuum (freeze) ${stage}`, mark(week, 'freezing')],
      [],
      { rows: size.rows, bytes: size.heap_bytes },
      'No later VACUUM has to touch it, and index-only scans work at once; the proof is relallvisible = relpages. Before the indexes: building them writes no page a second time then.',
    ),
    step(
      'index',
      [...indexes, `analyze ${stage}`, mark(week, 'indexing')],
      [],
      { rows: size.rows, bytes: size.index_bytes },
      'Keys and indexes, packed; all that the parent has, so that attaching builds none.',
    ),
    step(
      'replay',
      [...replayStatements(forward, false), mark(week, 'replaying')],
      everywhere('ACCESS SHARE'),
      {},
      'Brings over what was written meanwhile: a transaction per round, until hardly anything is left.',
    ),
    step(
      'prove',
      proofStatements(forward),
      everywhere('ACCESS SHARE').map((lock) => ({ ...lock, held: 'step' })),
      { rows: size.rows, bytes: size.heap_bytes },
      'Counts and order-independent hashes of both sides at one snapshot; they are kept in the journal, and a difference ends it here.',
    ),
    step(
      'swap',
      swapStatements(week),
      [on_(root, 'ACCESS EXCLUSIVE'), ...everywhere('ACCESS EXCLUSIVE'), on_(stage, 'ACCESS EXCLUSIVE')],
      {},
      `One short transaction, behind the gate that loads share: replays the rest, exchanges the tables, moves the old week to strata_held and starts to log what is written to the new one, so that undoing loses nothing for ${week.hold}. Tried again with growing waits when it cannot have the locks at once.`,
    ),
  ];
};

/** The statements for those indexes of source that target has not: none when ATTACH would build none. */
export const readUnmatched = async (
  database: Pool | Client,
  source: string,
  target: string,
): Promise<readonly string[]> => {
  const { rows } = await sql<{ statement: string }>`
    select statement from strata.unmatched_indexes(${source}::regclass, ${target}::regclass) statement`.execute(
    on(database),
  );
  return rows.map(({ statement }) => statement);
};
