/**
 * The verb `retain`, first half: which weeks are older than the set's policy keeps, and the steps that take them out.
 *
 * ```
 *   begin_retention ──► DETACH CONCURRENTLY, week by week ──► strata_held ──(hold)──► dropped
 *   (openings, journal: one transaction)                          └──► undo_retention
 * ```
 *
 * The journal says from the first commit on what is on its way, so a plan begins with what an earlier one left.
 */
import { sql } from 'kysely';
import { on, type Pool } from '../../../db/query.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import { basisOf, unknownSet, type Plan, type Step } from '../plan.ts';
import { readWeeks, type WeekInfo } from '../weeks.ts';
import { detachStatement, type Attachment } from './detach.ts';

/** What to retain. */
export interface RetainOptions {
  /** The present instant, from which `retain` is counted back. */
  readonly now: Date;
  /** Takes out what ended by this instant, instead of what the policy says; the week that holds it is kept. */
  readonly cutoff?: Date;
}

/** A week that an earlier retention has begun to take out. */
interface Unfinished {
  readonly held_id: number;
  readonly name: string;
  /** Null when somebody has dropped it. */
  readonly qualified: string | null;
  readonly attachment: Attachment;
  readonly lower: Date;
  readonly bytes: number | null;
  readonly rows: number | null;
}

/** All that a plan to retain rests on. */
interface RetainFacts {
  readonly set: string;
  readonly root: string;
  /** On the nodes of a cluster, where nothing is detached concurrently. */
  readonly distributed: boolean;
  readonly retain: string | null;
  readonly hold: string;
  /** Start of the week that holds the cutoff; null when everything is kept. */
  readonly floor: Date | null;
  readonly retainedFrom: Date | null;
  /** Of balance_changes: loaded changes from here on may wait to be folded. */
  readonly waiting: Date | null;
  readonly weeks: readonly WeekInfo[];
  readonly unfinished: readonly Unfinished[];
  /** Starts of weeks whose consolidation is not finished, or can still be undone. */
  readonly consolidating: readonly Date[];
  /** Names of weeks and leaves that a held table has already. */
  readonly taken: readonly string[];
}

/**
 * Plans the retention of a set; reads only. Weeks are judged by their real bounds, and the week that holds the cutoff is kept.
 *
 * @throws WarehouseError `config` when there is no such set, `conflict` when something stands in the way: a DEFAULT partition
 *   somebody added, a held table of the same name
 */
export const planRetain = async (pool: Pool, set: string, options: RetainOptions): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  return { verb: 'retain', set, basis, ...retainSteps(await readFacts(pool, set, options)) };
};

/** The steps and notes that follow from the facts. @throws WarehouseError `conflict` */
const retainSteps = (facts: RetainFacts): Pick<Plan, 'steps' | 'notes'> => {
  const { due, notes } = dueWeeks(facts);
  const left = leftOver(facts);
  if (due.length > 0 || left.length > 0) refuseDefault(facts);
  const names = new Set(due.map((week) => week.name));
  const taken = facts.taken.filter((name) => names.has(name));
  if (taken.length > 0) {
    throw new WarehouseError('conflict', `strata_held holds ${taken.join(', ')} of ${facts.set} already`, {
      remedy:
        'Two weeks of one name cannot both be held: drop the older table, or rename it with its leaves, and its row in strata.held_partitions.',
    });
  }
  return {
    steps: [
      ...left,
      ...(due.length === 0 ? [] : [beginStep(facts, due)]),
      ...due.flatMap((week) => [detachStep(facts, week, 'attached', null), holdStep(facts, week)]),
    ],
    notes,
  };
};

const dayOf = (instant: Date): string => instant.toISOString().slice(0, 10);
const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** Kinds that are a whole week of ours. */
const WHOLE: ReadonlySet<WeekInfo['kind']> = new Set(['hash', 'list', 'consolidated', 'sharded', 'columnar']);

type Week = WeekInfo & { readonly lower: Date; readonly upper: Date };

/** The weeks to take out, oldest first, and why others are left alone. */
const dueWeeks = (
  facts: RetainFacts,
): { readonly due: readonly Week[]; readonly notes: readonly string[] } => {
  const { floor, set } = facts;
  if (floor === null) return { due: [], notes: [`${set} keeps everything: its policy names no \`retain\``] };
  const notes: string[] = [];
  const due: Week[] = [];
  const going = new Set(facts.unfinished.map((week) => week.qualified));
  for (const week of facts.weeks) {
    const isPast = week.upper !== null && week.upper <= floor;
    if (!isPast || week.detach_pending || going.has(week.qualified)) continue;
    if (!WHOLE.has(week.kind) || week.lower === null || week.upper === null) {
      notes.push(
        `${week.qualified} (${week.kind}) ends by ${dayOf(floor)} but is no week of this set: detach it yourself`,
      );
      continue;
    }
    const { lower, upper } = week;
    if (facts.consolidating.some((start) => start.getTime() === lower.getTime())) {
      notes.push(
        `${week.name} and what is newer wait: its consolidation is unfinished, or can still be undone`,
      );
      break;
    }
    if (facts.waiting !== null && upper > facts.waiting) {
      notes.push(
        `${week.name} and what is newer wait: changes from ${facts.waiting.toISOString()} on are not folded yet (pgstrata fold)`,
      );
      break;
    }
    due.push({ ...week, lower, upper });
  }
  notes.push(`weeks from ${dayOf(floor)} on are kept: the cutoff lies in that one`);
  return { due, notes };
};

const refuseDefault = ({ weeks, root }: RetainFacts): void => {
  const standIn = weeks.find((week) => week.kind === 'default');
  if (standIn === undefined) return;
  throw new WarehouseError(
    'conflict',
    `${root} has a DEFAULT partition, ${standIn.qualified}, with which PostgreSQL detaches nothing concurrently`,
    {
      remedy: `Move its rows into weeks (strata.ensure_weeks), then: alter table ${root} detach partition ${standIn.qualified}.`,
    },
  );
};

/** Goes on with what an earlier retention, or somebody's own interrupted DETACH, has left. */
const leftOver = (facts: RetainFacts): Step[] => {
  const journaled = new Set(facts.unfinished.map((week) => week.qualified));
  const foreign = facts.weeks
    .filter((week) => week.detach_pending && !journaled.has(week.qualified))
    .map((week) =>
      detachStep(
        facts,
        week,
        'pending',
        'somebody began to detach it and was interrupted; its rows are invisible already',
      ),
    );
  const begun = facts.unfinished.flatMap((week) => {
    if (week.qualified === null) return [forgetStep(week)];
    const known = { ...week, qualified: week.qualified };
    const hold = holdStep(facts, known);
    if (week.attachment === 'detached') return [hold];
    return [detachStep(facts, known, week.attachment, 'an earlier retention began to take it out'), hold];
  });
  return [...foreign, ...begun];
};

interface Named {
  readonly name: string;
  readonly qualified: string;
  readonly lower: Date | null;
  readonly bytes?: number | null;
  readonly rows: number | null;
}

const weekOfStep = ({ lower }: Pick<Named, 'lower'>): string | null => lower?.toISOString() ?? null;

const ABOUT_OPENINGS: Readonly<Record<string, string>> = {
  account_balances:
    'writes the balance of every key at the cutoff as its opening balance; folds wait for it, and count on from there',
  balance_changes: 'verify, rebuild and as-of reads count from the cutoff on',
  snapshot_rows: 'the balances of these snapshots are settled; later arrivals of that time are quarantined',
};

const beginStep = ({ set, retainedFrom }: RetainFacts, due: readonly Week[]): Step => {
  const last = Math.max(...due.map((week) => week.upper.getTime()), retainedFrom?.getTime() ?? -Infinity);
  const cutoff = new Date(last).toISOString();
  const weeks = due.map((week) => literal(week.qualified)).join(', ');
  return {
    name: `begin at ${cutoff.slice(0, 10)}`,
    week: null,
    sql: [
      `select strata.begin_retention(${literal(set)}, ${literal(cutoff)}, array[${weeks}]::regclass[]) as retention_id`,
    ],
    locks: [{ relation: 'strata.account_balances_opening', mode: 'ROW EXCLUSIVE', held: 'step' }],
    rows: sum(due.map((week) => week.rows)),
    bytes: sum(due.map((week) => week.total_bytes)),
    why: `${ABOUT_OPENINGS[set] ?? 'rows of that time are quarantined from here on'}; the journal says which weeks go`,
  };
};

const detachStep = (
  { root, distributed }: RetainFacts,
  week: Named,
  from: Exclude<Attachment, 'detached'>,
  because: string | null,
): Step => ({
  name: `detach ${week.name}`,
  week: weekOfStep(week),
  sql: [detachStatement(root, week.qualified, distributed ? 'sharded' : from)],
  locks: [
    distributed
      ? { relation: root, mode: 'ACCESS EXCLUSIVE', held: 'moment' }
      : { relation: root, mode: 'SHARE UPDATE EXCLUSIVE', held: 'step' },
    { relation: week.qualified, mode: 'ACCESS EXCLUSIVE', held: 'moment' },
  ],
  rows: week.rows,
  bytes: week.bytes ?? null,
  why: distributed
    ? `${because ?? 'it is older than the policy keeps'}; Citus detaches at once or not at all`
    : `${because ?? 'it is older than the policy keeps'}; while a transaction of before holds it up, it is given up for a moment and finished by FINALIZE`,
});

const holdStep = ({ hold }: Pick<RetainFacts, 'hold'>, week: Named): Step => ({
  name: `hold ${week.name}`,
  week: weekOfStep(week),
  sql: [`select strata.hold_partition(${literal(week.qualified)}) as held_id`],
  locks: [{ relation: week.qualified, mode: 'ACCESS EXCLUSIVE', held: 'moment' }],
  rows: week.rows,
  bytes: week.bytes ?? null,
  why: `it goes to schema strata_held under its own name, and can be put back for ${hold}`,
});

const forgetStep = (week: Unfinished): Step => ({
  name: `forget ${week.name}`,
  week: weekOfStep(week),
  sql: [
    `update strata.held_partitions set state = 'dropped', finished_at = clock_timestamp() where held_id = ${week.held_id}`,
  ],
  locks: [],
  rows: null,
  bytes: null,
  why: 'an earlier retention began to take it out, and somebody has dropped it since',
});

const sum = (numbers: readonly (number | null)[]): number | null => {
  const known = numbers.filter((number) => number !== null);
  return known.length === numbers.length ? known.reduce((total, number) => total + number, 0) : null;
};

interface PolicyRow {
  readonly root: string;
  readonly distributed: boolean;
  readonly retain: string | null;
  readonly hold: string;
  readonly floor: Date | null;
  readonly retained_from: Date | null;
  readonly waiting: Date | null;
}

const readFacts = async (pool: Pool, set: string, { now, cutoff }: RetainOptions): Promise<RetainFacts> => {
  const policies = await sql<PolicyRow>`
    select format('%I.%I', n.nspname, c.relname) as root, strata.is_distributed(s.parent) as distributed, s.retain::text as retain, s.hold::text as hold,
           strata.week_start(coalesce(${cutoff?.toISOString() ?? null}::timestamptz, ${now.toISOString()}::timestamptz - s.retain)) as floor, nullif(s.retained_from, '-infinity') as retained_from,
           case s.set_name when 'balance_changes' then strata.waiting_since() end as waiting
      from strata.partition_sets s
      join pg_class c on c.oid = s.parent
      join pg_namespace n on n.oid = c.relnamespace
     where s.set_name = ${set}`.execute(on(pool));
  const [policy] = policies.rows;
  if (policy === undefined) throw unknownSet(set);
  const unfinished = await sql<Unfinished>`
    select h.held_id, h.partition_name as name, case when c.oid is not null then format('%I.%I', n.nspname, c.relname) end as qualified,
           case when c.oid is null then null when i.inhrelid is null then 'detached' when i.inhdetachpending then 'pending' else 'attached' end as attachment,
           h.lower_bound as lower, h.bytes, h.row_count as rows
      from strata.held_partitions h
      left join pg_class c on c.oid = h.partition
      left join pg_namespace n on n.oid = c.relnamespace
      left join pg_inherits i on i.inhrelid = h.partition
     where h.set_name = ${set} and h.state = 'detaching' and h.reason = 'retained'
     order by i.inhdetachpending desc nulls last, h.lower_bound`.execute(on(pool));
  const consolidating = await sql<{ lower: Date }>`
    select lower_bound as lower from strata.consolidations where set_name = ${set} and finished_at is null`.execute(
    on(pool),
  );
  const taken = await sql<{ name: string }>`
    select distinct w.partition_name as name
      from strata.week_info(${set}) w
     cross join lateral pg_partition_tree(w.partition) t
      join pg_class c on c.oid = t.relid
     where to_regclass(format('strata_held.%I', c.relname)) is not null`.execute(on(pool));
  return {
    set,
    root: policy.root,
    distributed: policy.distributed,
    retain: policy.retain,
    hold: policy.hold,
    floor: policy.floor,
    retainedFrom: policy.retained_from,
    waiting: policy.waiting,
    weeks: await readWeeks(pool, set),
    unfinished: unfinished.rows,
    consolidating: consolidating.rows.map((row) => row.lower),
    taken: taken.rows.map((row) => row.name),
  };
};
