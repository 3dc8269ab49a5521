/** Weeks that were taken out and are kept in schema strata_held: what there is, and the drop of what has been kept long enough. */
import { sql } from 'kysely';
import { on, type Pool } from '../../db/query.ts';
import { asMaintainer, eachStep, type ApplyOptions } from './apply.ts';
import { BRIEF, carryOut } from './carry-out.ts';
import { basisOf, refuseStale, type Plan, type Step } from './plan.ts';

/** Why a table is held. */
export type HeldReason = 'retained' | 'consolidated' | 'undone';

/** A table that was taken out and is not gone yet. */
export interface HeldTable {
  readonly held_id: number;
  readonly set: string;
  readonly name: string;
  /** Null when somebody has dropped it. */
  readonly qualified: string | null;
  readonly reason: HeldReason;
  /** `detaching`: on its way out, still in its own schema. */
  readonly state: 'detaching' | 'held';
  readonly lower: Date;
  readonly upper: Date;
  readonly bytes: number | null;
  /** As of the last ANALYZE. */
  readonly rows: number | null;
  readonly detached_at: Date;
  /** Null while it is detaching. */
  readonly drop_after: Date | null;
  readonly retention_id: number | null;
  readonly consolidation_id: number | null;
}

/** The held tables of a set, or of all, oldest week first. */
export const listHeld = async (pool: Pool, set: string | null = null): Promise<readonly HeldTable[]> => {
  const { rows } = await sql<HeldTable>`
    select h.held_id, h.set_name as "set", h.partition_name as name, case when c.oid is not null then format('%I.%I', n.nspname, c.relname) end as qualified,
           h.reason, h.state, h.lower_bound as lower, h.upper_bound as upper, h.bytes, h.row_count as rows, h.detached_at,
           case when isfinite(h.drop_after) then h.drop_after end as drop_after, h.retention_id, h.consolidation_id
      from strata.held_partitions h
      left join pg_class c on c.oid = h.partition
      left join pg_namespace n on n.oid = c.relnamespace
     where h.finished_at is null and (${set}::text is null or h.set_name = ${set})
     order by h.set_name, h.lower_bound, h.held_id`.execute(on(pool));
  return rows;
};

/** More bytes than this are dropped one table a run: unlinking so much at once stalls the disk for everybody. */
export const DROP_LARGE_BYTES = 10_000_000_000;

/** Statements that must run in the transaction of a drop and before it: what else the holding of this table set up. */
export type BeforeDrop = (held: HeldTable) => readonly string[];

/** What to drop. */
export interface DropOptions {
  /** The present instant. */
  readonly now: Date;
  /**
   * For each reason, what comes before a drop; tables held for a reason that is not named here are left alone. Default:
   * retained and undone weeks, with nothing before it.
   */
  readonly before?: Readonly<Partial<Record<HeldReason, BeforeDrop>>>;
}

const NOTHING_BEFORE: Readonly<Partial<Record<HeldReason, BeforeDrop>>> = {
  retained: () => [],
  undone: () => [],
};

/** Plans the drop of a set's held tables whose time has come, a transaction for each; reads only. */
export const planDrop = async (pool: Pool, set: string, options: DropOptions): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  return { verb: 'drop', set, basis, ...dropSteps(await listHeld(pool, set), options) };
};

/** The steps and notes for these tables: all small ones, and the oldest of the large ones. */
export const dropSteps = (
  held: readonly HeldTable[],
  { now, before = NOTHING_BEFORE }: DropOptions,
): Pick<Plan, 'steps' | 'notes'> => {
  const steps: Step[] = [];
  const notes: string[] = [];
  let large = 0;
  for (const table of held) {
    const { name, drop_after: after } = table;
    if (table.state !== 'held' || after === null) continue;
    const prepare = before[table.reason];
    if (after > now) notes.push(`${name} is kept until ${after.toISOString()}`);
    else if (prepare === undefined) notes.push(`${name} is left alone: it is held as ${table.reason}`);
    else if ((table.bytes ?? 0) > DROP_LARGE_BYTES && large++ > 0)
      notes.push(
        `${name} waits for the next run: one table of over ${DROP_LARGE_BYTES / 1e9} GB is dropped in each`,
      );
    else steps.push(dropStep(table, prepare(table)));
  }
  return { steps, notes };
};

const dropStep = (table: HeldTable, before: readonly string[]): Step => ({
  name: `drop ${table.name}`,
  week: table.lower.toISOString(),
  sql: [...before, `select strata.drop_held(${table.held_id}) as bytes`],
  locks:
    table.qualified === null ? [] : [{ relation: table.qualified, mode: 'ACCESS EXCLUSIVE', held: 'step' }],
  rows: table.rows,
  bytes: table.bytes,
  why: `it was taken out (${table.reason}) at ${table.detached_at.toISOString()} and has been kept long enough; there is no undo behind this`,
});

/** What was dropped. */
export interface Dropped {
  readonly set: string;
  readonly tables: readonly string[];
  readonly bytes: number;
}

/**
 * Drops the plan's tables, each in a transaction of its own.
 *
 * @throws WarehouseError `conflict` when another maintainer is at work, the plan is out of date, or somebody uses a table
 */
export const applyDrop = (pool: Pool, plan: Plan, options: ApplyOptions): Promise<Dropped> =>
  asMaintainer(pool, plan.set, options.signal, async (signal, client) => {
    await refuseStale(client, plan);
    const tables: string[] = [];
    let bytes = 0;
    await eachStep(plan.steps, { ...options, signal }, async (step) => {
      const row = await carryOut(client, step, BRIEF, signal);
      tables.push(step.name.slice('drop '.length));
      bytes += Number(row?.['bytes'] ?? 0);
    });
    return { set: plan.set, tables, bytes };
  });
