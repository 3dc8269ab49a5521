/** The verb `retain`, second half: carries out exactly a plan's steps, and goes on where an earlier one was cut off. */
import { sql } from 'kysely';
import { on, type Pool } from '../../../db/query.ts';
import { asMaintainer, eachStep, type ApplyOptions } from '../apply.ts';
import { BRIEF, carryOut, FOLD } from '../carry-out.ts';
import { listHeld, type HeldTable } from '../held.ts';
import { refuseStale, type Plan } from '../plan.ts';
import { detach, isDetach } from './detach.ts';

/** What was taken out. */
export interface Retained {
  readonly set: string;
  /** What `undo_retention` takes; null when only an earlier retention was finished. */
  readonly retention_id: number | null;
  /** The weeks that are held now and were not before. */
  readonly weeks: readonly HeldTable[];
  readonly bytes: number;
}

/**
 * Takes the plan's weeks out of the set. Whatever stops it, the database is consistent after each step, and the next plan
 * begins with what is left.
 *
 * @throws WarehouseError `conflict` when another maintainer is at work, the plan is out of date, or a lock was not to be had;
 *   `cancelled` when stopped
 */
export const applyRetain = (pool: Pool, plan: Plan, options: ApplyOptions): Promise<Retained> =>
  asMaintainer(pool, plan.set, options.signal, async (signal, client) => {
    await refuseStale(client, plan);
    const held = new Set<number>();
    let retention: number | null = null;
    await eachStep(plan.steps, { ...options, signal }, async (step) => {
      if (isDetach(step)) return detach(client, step, signal);
      const row = await carryOut(client, step, step.week === null ? FOLD : BRIEF, signal);
      if (row?.['retention_id'] !== undefined) retention = Number(row['retention_id']);
      if (row?.['held_id'] !== undefined) held.add(Number(row['held_id']));
    });
    await weighShards(pool, [...held]);
    const weeks = (await listHeld(pool, plan.set)).filter((week) => held.has(week.held_id));
    return {
      set: plan.set,
      retention_id: retention,
      weeks,
      bytes: weeks.reduce((sum, week) => sum + (week.bytes ?? 0), 0),
    };
  });

/** On a cluster: what the weeks weigh in their shards, which Citus tells only outside of a transaction that writes. */
const weighShards = async (pool: Pool, held: readonly number[]): Promise<void> => {
  await sql`
    update strata.held_partitions h set bytes = b.bytes from strata.table_bytes() b
     where b.relation = h.partition::regclass and h.held_id = any (${held})`.execute(on(pool));
};
