/** Drops plain tables once they have been held as long as the journal says; from then on their adoption cannot be undone. */
import type { Pool } from '../../../db/query.ts';
import { asMaintainer } from '../apply.ts';

import { basisOf, refuseStale, type Plan } from '../plan.ts';
import { locked, type AdoptOptions } from './apply.ts';
import { readOpenAdoptions } from './journal.ts';
import { dropHeldStatements } from './statements.ts';

/**
 * Plans to drop the plain table that a set was made of, when it is due.
 *
 * @throws WarehouseError `config` when there is no such set
 */
export const planDropAdopted = async (
  pool: Pool,
  set: string,
  { now }: { readonly now: Date },
): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  const due = (await readOpenAdoptions(pool)).filter(
    ({ adoption, step, drop_after }) =>
      adoption.set === set && step === 'swapped' && drop_after !== null && drop_after <= now,
  );
  return {
    verb: 'adopt',
    set,
    basis,
    steps: due.map(({ adoption, drop_after }) => ({
      name: `drop adopted ${adoption.tableName}`,
      week: null,
      sql: dropHeldStatements(adoption),
      locks: [{ relation: adoption.source, mode: 'ACCESS EXCLUSIVE', held: 'moment' }],
      rows: null,
      bytes: null,
      why: `It was held until ${drop_after?.toISOString()}; afterwards the adoption cannot be undone.`,
    })),
    notes: [],
  };
};

/**
 * Carries out a plan of `planDropAdopted`.
 *
 * @returns whether a table was dropped
 * @throws WarehouseError `conflict` when somebody else maintains the set, or when it has changed since the plan
 */
export const applyDropAdopted = (pool: Pool, plan: Plan, options: AdoptOptions = {}): Promise<boolean> =>
  asMaintainer(pool, plan.set, options.signal, async (signal) => {
    await refuseStale(pool, plan);
    const open = (await readOpenAdoptions(pool)).find(({ adoption }) => adoption.set === plan.set);
    if (open === undefined || plan.steps.length === 0) return false;
    const work = { pool, adoption: open.adoption, signal, patience: options.patience };
    for (const { name, sql } of plan.steps) {
      options.onEvent?.({ kind: 'step', set: plan.set, step: name });
      await locked(work, sql);
      options.onEvent?.({ kind: 'done', set: plan.set, step: name });
    }
    return plan.steps.length > 0;
  });
