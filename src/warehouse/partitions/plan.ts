/** What maintenance is going to do, as data: a person reads it, `--dry-run` prints it, apply carries out exactly it. */
import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { on, type Client, type Pool } from '../../db/query.ts';
import { WarehouseError } from '../../runtime/errors.ts';

/** What maintenance can do to a set. */
export type Verb = 'ensure' | 'consolidate' | 'retain' | 'drop' | 'optimize' | 'undo' | 'adopt';

/** PostgreSQL's table lock modes that a step can ask for. */
export type LockMode =
  | 'ACCESS SHARE'
  | 'ROW EXCLUSIVE'
  | 'SHARE UPDATE EXCLUSIVE'
  | 'SHARE ROW EXCLUSIVE'
  | 'ACCESS EXCLUSIVE';

/** The strongest lock a step takes on a table that others use, and for how long. */
export interface StepLock {
  readonly relation: string;
  readonly mode: LockMode;
  /** How long it is held: `moment` is milliseconds, `step` the whole step. */
  readonly held: 'moment' | 'step';
}

/** One step of a plan. */
export interface Step {
  /** Its name in the journal and in messages, unique in the plan: `copy balance_changes_2026_01_04`. */
  readonly name: string;
  /** The week it touches, as its start in ISO; null for the whole set. */
  readonly week: string | null;
  /** The statements, in order; what a statement repeats or fills in is said in `why`. */
  readonly sql: readonly string[];
  readonly locks: readonly StepLock[];
  /** Rows and bytes it reads or frees, as the catalog estimates them; null where there is nothing to say. */
  readonly rows: number | null;
  readonly bytes: number | null;
  /** Why it is there, for a person. */
  readonly why: string;
}

/** A lock for a moment. */
export const momentary = (relation: string, mode: LockMode): StepLock => ({ relation, mode, held: 'moment' });

/** A step of whose rows and bytes there is nothing to say. */
export const plainStep = (step: Omit<Step, 'rows' | 'bytes'>): Step => ({ ...step, rows: null, bytes: null });

/** A plan for one set. */
export interface Plan {
  readonly verb: Verb;
  readonly set: string;
  /** Fingerprint of what the plan rests on: the set's policy and partitions; see {@link basisOf}. */
  readonly basis: string;
  readonly steps: readonly Step[];
  /** What a person should know: weeks left alone and why, things that look wrong and their remedy. */
  readonly notes: readonly string[];
}

/**
 * Fingerprint of a set's policy and of the identity, bounds and kind of its partitions and leaves. Sizes and row counts
 * are no part of it: rows may come and go between plan and apply.
 *
 * @param attachedUntil leave out weeks of history that were attached after this instant, the second part of a fingerprint
 * @returns a hash and, where history was ever attached whole, when the last week of it was
 * @throws WarehouseError `config` when there is no such set
 */
export const basisOf = async (
  database: Pool | Client,
  set: string,
  attachedUntil: string | null = null,
): Promise<string> => {
  const { rows } = await sql<{ basis: object; attached: string | null }>`
    select (select max(b.attached_at)::text from strata.backfill_weeks b) as attached, to_jsonb(s) || jsonb_build_object(
             'weeks', (select jsonb_agg(jsonb_build_array(w.partition::oid, w.lower_bound, w.upper_bound, w.kind, w.detach_pending,
                                 (select jsonb_agg(i.inhrelid order by i.inhrelid) from pg_inherits i where i.inhparent = w.partition)))
                         from strata.week_info(s.set_name) w
                        where not exists (select from strata.backfill_weeks b where b.week_start = w.lower_bound and b.attached_at > ${attachedUntil})),
             'unfinished', (select jsonb_agg(jsonb_build_array(c.consolidation_id, c.step) order by c.consolidation_id)
                              from strata.consolidations c where c.set_name = s.set_name and c.finished_at is null),
             'held', (select jsonb_agg(jsonb_build_array(h.held_id, h.state) order by h.held_id)
                        from strata.held_partitions h where h.set_name = s.set_name and h.finished_at is null)) as basis
      from strata.partition_sets s where s.set_name = ${set}`.execute(on(database));
  const [row] = rows;
  if (row === undefined) throw unknownSet(set);
  const hash = createHash('sha256').update(JSON.stringify(row.basis)).digest('hex').slice(0, 16);
  const attached = attachedUntil ?? row.attached;
  return attached === null ? hash : `${hash} ${attached}`;
};

/**
 * Refuses a plan that reality has left behind.
 *
 * @throws WarehouseError `conflict` with the remedy
 */
export const refuseStale = async (database: Pool | Client, plan: Plan): Promise<void> => {
  // A backfill attaches a week every few moments: to weeks that are merged those behind them are nothing.
  const [, attached = null] = /^\S+ (.+)$/.exec(plan.basis) ?? [];
  if ((await basisOf(database, plan.set, plan.verb === 'consolidate' ? attached : null)) === plan.basis)
    return;
  throw new WarehouseError(
    'conflict',
    `${plan.set} is no longer what the plan to ${plan.verb} was made for: its policy or its partitions have changed since`,
    { remedy: 'Plan again and look at what is different; nothing was done.' },
  );
};

/** The error for a set that does not exist. */
export const unknownSet = (set: string): WarehouseError =>
  new WarehouseError('config', `there is no partition set ${set}`, {
    remedy: 'The managed sets are the rows of strata.partition_sets; `pgstrata partitions` lists them.',
  });

/** The name of the lock that one maintainer of a set holds (session level). */
export const maintainLock = (set: string): string => `maintain ${set}`;

/** The name of the lock that each load of a set shares for its transaction, and that a swap takes alone. */
export const gateLock = (set: string): string => `gate ${set}`;
