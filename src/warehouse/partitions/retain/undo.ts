/** Takes a retention back: its weeks are attached again without a scan, and balances count on from where they did before. */
import { sql } from 'kysely';
import { on, type Pool } from '../../../db/query.ts';
import { WarehouseError } from '../../../runtime/errors.ts';
import { asMaintainer, eachStep, type ApplyOptions } from '../apply.ts';
import { carryOut, FOLD } from '../carry-out.ts';
import { basisOf, refuseStale, type Plan, type Step } from '../plan.ts';
import { detach, detachStatement, isDetach } from './detach.ts';

/** What to take back. */
export interface UndoRetentionOptions {
  readonly now: Date;
  /** Any instant of a week that the retention took out; default: whatever the newest retention took out. */
  readonly week?: Date;
}

/** What was put back. */
export interface RetentionUndone {
  readonly set: string;
  readonly retention_id: number;
  readonly weeks: number;
}

interface HeldWeek {
  readonly retention_id: number;
  readonly name: string;
  readonly state: 'detaching' | 'held' | 'dropped' | 'reattached';
  readonly qualified: string | null;
  readonly pending: boolean;
  readonly root: string;
  readonly lower: Date;
  readonly upper: Date;
  readonly bytes: number | null;
  readonly rows: number | null;
  /** A partition that has its range meanwhile. */
  readonly occupant: string | null;
  readonly newest: boolean;
}

/**
 * Plans to take back the newest retention of a set; reads only. Without steps when there is none (of that week).
 *
 * @throws WarehouseError `conflict` when it cannot be taken back: an older retention than the newest, weeks dropped already,
 *   another partition in the place of one
 */
export const planUndoRetention = async (
  pool: Pool,
  set: string,
  { week }: UndoRetentionOptions,
): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  const weeks = await readTaken(pool, set);
  const nothing = (note: string): Plan => ({ verb: 'undo', set, basis, steps: [], notes: [note] });
  const asked = weeks.filter((held) => week === undefined || (held.lower <= week && week < held.upper));
  if (asked.length === 0) return nothing('no retention that can be taken back has taken such a week out');
  if (!asked.some((held) => held.newest)) throw notNewest(set, asked[0]!);
  const newest = weeks.filter((held) => held.newest);
  refuseLost(set, newest);
  const back = putBack(newest);
  refuseOccupied(back);
  return { verb: 'undo', set, basis, steps: undoSteps(set, back), notes: notesOf(back, newest) };
};

/**
 * Carries the plan out, the putting back in one transaction.
 *
 * @throws WarehouseError `conflict` when another maintainer is at work, the plan is out of date, or a lock was not to be had
 */
export const applyUndoRetention = (pool: Pool, plan: Plan, options: ApplyOptions): Promise<RetentionUndone> =>
  asMaintainer(pool, plan.set, options.signal, async (signal, client) => {
    await refuseStale(client, plan);
    let undone: RetentionUndone = { set: plan.set, retention_id: 0, weeks: 0 };
    await eachStep(plan.steps, { ...options, signal }, async (step) => {
      if (isDetach(step)) return detach(client, step, signal);
      const row = await carryOut(client, step, FOLD, signal);
      undone = { ...undone, retention_id: Number(row?.['retention_id']), weeks: Number(row?.['weeks']) };
    });
    return undone;
  });

/** From the last dropped week on; balances all or nothing, which {@link refuseLost} has seen to. */
const putBack = (weeks: readonly HeldWeek[]): readonly HeldWeek[] => {
  const lost = Math.max(...weeks.filter(isLost).map((held) => held.upper.getTime()), -Infinity);
  return weeks.filter((held) => !isLost(held) && held.lower.getTime() >= lost);
};

const isLost = (held: HeldWeek): boolean => held.state === 'dropped' || held.qualified === null;

const refuseLost = (set: string, weeks: readonly HeldWeek[]): void => {
  const lost = weeks.filter(isLost);
  if (lost.length === 0 || (lost.length < weeks.length && set !== 'account_balances')) return;
  throw new WarehouseError(
    'conflict',
    `the retention of ${set} cannot be taken back: ${lost.map((held) => held.name).join(', ')} ${lost.length === 1 ? 'is' : 'are'} dropped`,
    {
      remedy: 'Opening balances are exact from the cutoff on only; load that time anew, or restore a backup.',
    },
  );
};

const notNewest = (set: string, held: HeldWeek): WarehouseError =>
  new WarehouseError(
    'conflict',
    `${held.name} was taken out by an older retention of ${set} than the newest`,
    {
      remedy: 'Retentions are taken back newest first: ask for the newest week that is held.',
    },
  );

const refuseOccupied = (weeks: readonly HeldWeek[]): void => {
  const held = weeks.find((week) => week.occupant !== null);
  if (held === undefined) return;
  throw new WarehouseError('conflict', `${held.name} cannot be put back: ${held.occupant} is in its place`, {
    remedy: `Copy the rows of ${held.occupant} elsewhere and detach it; undo again, then insert them anew.`,
  });
};

const undoSteps = (set: string, weeks: readonly HeldWeek[]): Step[] => {
  const [first] = weeks;
  if (first === undefined) return [];
  const finalize = weeks
    .filter((held) => held.pending && held.qualified !== null)
    .map((held): Step => ({
      name: `detach ${held.name}`,
      week: held.lower.toISOString(),
      sql: [detachStatement(held.root, held.qualified ?? '', 'pending')],
      locks: [{ relation: held.root, mode: 'SHARE UPDATE EXCLUSIVE', held: 'step' }],
      rows: held.rows,
      bytes: held.bytes,
      why: 'its detach was interrupted, and must end before it can be attached again',
    }));
  return [
    ...finalize,
    {
      name: `put back ${weeks.length} weeks`,
      week: first.lower.toISOString(),
      sql: [
        `select ${first.retention_id} as retention_id, strata.undo_retention(${first.retention_id}) as weeks`,
      ],
      locks: [
        { relation: first.root, mode: 'SHARE UPDATE EXCLUSIVE', held: 'step' },
        ...(set === 'account_balances'
          ? ([{ relation: 'strata.account_balances_opening', mode: 'ROW EXCLUSIVE', held: 'step' }] as const)
          : []),
      ],
      rows: weeks.reduce((sum, held) => sum + (held.rows ?? 0), 0),
      bytes: weeks.reduce((sum, held) => sum + (held.bytes ?? 0), 0),
      why: 'all in one transaction: schema, ATTACH (their CHECK spares the scan), openings and status of before, what came late since',
    },
  ];
};

const notesOf = (back: readonly HeldWeek[], all: readonly HeldWeek[]): string[] => [
  `puts back ${back.map((held) => held.name).join(', ')}`,
  ...all
    .filter((held) => !back.includes(held))
    .map((held) => `${held.name} stays out: it, or a newer one, is dropped`),
  'rows of that time that went to quarantine meanwhile stay there',
];

const readTaken = async (pool: Pool, set: string): Promise<readonly HeldWeek[]> => {
  const { rows } = await sql<HeldWeek>`
    select r.retention_id, h.partition_name as name, h.state, case when c.oid is not null then format('%I.%I', n.nspname, c.relname) end as qualified,
           coalesce(i.inhdetachpending, false) as pending, format('%I.%I', rn.nspname, rc.relname) as root,
           h.lower_bound as lower, h.upper_bound as upper, h.bytes, h.row_count as rows,
           (select p.partition::text from strata.set_partitions(s.set_name) p
             where p.partition <> h.partition and (p.is_default or (p.lower_bound < h.upper_bound and p.upper_bound > h.lower_bound)) limit 1) as occupant,
           r.retention_id = max(r.retention_id) over () as newest
      from strata.retentions r
      join strata.partition_sets s on s.set_name = r.set_name
      join pg_class rc on rc.oid = s.parent
      join pg_namespace rn on rn.oid = rc.relnamespace
      join strata.held_partitions h on h.retention_id = r.retention_id
      left join pg_class c on c.oid = h.partition
      left join pg_namespace n on n.oid = c.relnamespace
      left join pg_inherits i on i.inhrelid = h.partition
     where r.set_name = ${set} and r.undone_at is null and r.dropped_at is null
     order by h.lower_bound`.execute(on(pool));
  return rows;
};
