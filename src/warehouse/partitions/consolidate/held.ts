/** Drops old weeks once they have been held as long as the policy asks; from then on their consolidation cannot be undone. */
import type { Pool } from '../../../db/query.ts';
import { withTransaction } from '../../../db/pool.ts';
import { messageOf } from '../../../runtime/errors.ts';
import { basisOf, refuseStale, type Plan, type Step } from '../plan.ts';
import { asMaintainer } from '../apply.ts';
import { type OnlineOptions } from './apply.ts';
import { readOpen } from './journal.ts';
import { runLocked } from './ladder.ts';
import { dropHeldStatements } from './statements.ts';
import { readWeek } from './week.ts';

/** What became of one held week. */
export interface DroppedWeek {
  readonly week: string;
  readonly error: string | null;
}

/**
 * Plans to drop the old weeks of consolidations that are due.
 *
 * @throws WarehouseError `config` when there is no such set
 */
export const planDropHeld = async (
  pool: Pool,
  set: string,
  { now }: { readonly now: Date },
): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  const steps: Step[] = [];
  for (const one of await readOpen(pool, set)) {
    if (one.step !== 'swapped' || one.drop_after === null || one.drop_after > now) continue;
    const week = await readWeek(pool, set, one);
    const { stage } = one;
    steps.push({
      name: `drop replaced ${one.name}`,
      week: week.start,
      // Whoever writes to the consolidated table must not wait: its triggers go under a lock that is asked for in short waits.
      sql: [
        stage === null ? 'select' : `lock table only ${stage} in access exclusive mode`,
        ...dropHeldStatements(week, stage),
      ],
      locks: stage === null ? [] : [{ relation: stage, mode: 'ACCESS EXCLUSIVE', held: 'moment' }],
      rows: null,
      bytes: null,
      why: `It was held until ${one.drop_after.toISOString()}; afterwards the consolidation cannot be undone.`,
    });
  }
  return { verb: 'consolidate', set, basis, steps, notes: [] };
};

/**
 * Carries out a plan of `planDropHeld`; each week fails alone.
 *
 * @throws WarehouseError `conflict` when somebody else maintains the set, or when it has changed since the plan
 */
export const applyDropHeld = (
  pool: Pool,
  plan: Plan,
  { signal: stop, onEvent, patience }: OnlineOptions = {},
): Promise<readonly DroppedWeek[]> =>
  asMaintainer(pool, plan.set, stop, async (signal) => {
    await refuseStale(pool, plan);
    const dropped: DroppedWeek[] = [];
    for (const { name, week, sql } of plan.steps) {
      const start = week ?? '';
      onEvent?.({ kind: 'step', set: plan.set, week: start, step: name });
      try {
        await runLocked(pool, plan.set, sql, { signal, ...(patience !== undefined && { patience }) });
        dropped.push({ week: start, error: null });
        onEvent?.({ kind: 'done', set: plan.set, week: start, step: name });
      } catch (thrown) {
        dropped.push({ week: start, error: messageOf(thrown) });
        onEvent?.({ kind: 'failed', set: plan.set, week: start, error: messageOf(thrown) });
      }
    }
    return dropped;
  });

/** Drops what an undo has exchanged back and was killed before it could drop it. */
export const dropLeftUndone = async (pool: Pool, set: string): Promise<void> => {
  const { rows } = await pool.query<{ id: number; table: string | null }>(
    `select h.held_id as id, (select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                               where c.oid = h.partition) as table
       from strata.held_partitions h where h.set_name = $1 and h.reason = 'undone' and h.finished_at is null`,
    [set],
  );
  for (const { id, table } of rows) {
    await withTransaction(pool, async (client) => {
      if (table !== null) await client.query(`drop table ${table}`);
      await client.query(
        `update strata.held_partitions set state = 'dropped', finished_at = clock_timestamp() where held_id = $1`,
        [id],
      );
    });
  }
};
