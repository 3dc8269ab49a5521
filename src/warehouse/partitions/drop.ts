/** The verb `drop`: what retention took out and what consolidation replaced, each once it has been held long enough. */
import type { Pool } from '../../db/query.ts';
import type { ApplyOptions } from './apply.ts';
import { applyDropHeld, planDropHeld, type DroppedWeek } from './consolidate/held.ts';
import { applyDrop, planDrop, type Dropped } from './held.ts';
import { basisOf, type Plan } from './plan.ts';

/** What was dropped. */
export interface DroppedAll extends Dropped {
  /** Old weeks of consolidations, each dropped alone; from now on those cannot be undone. */
  readonly replaced: readonly DroppedWeek[];
}

/** Plans the drop of a set's held tables whose time has come; reads only. */
export const planDropAll = async (
  pool: Pool,
  set: string,
  options: { readonly now: Date },
): Promise<Plan> => {
  const replaced = await planDropHeld(pool, set, options);
  const { notes, ...taken } = await planDrop(pool, set, options);
  return {
    ...taken,
    steps: [...replaced.steps, ...taken.steps],
    notes: notes.filter((note) => !note.endsWith('it is held as consolidated')),
  };
};

/** Carries out a plan of {@link planDropAll}. @throws WarehouseError `conflict` when another maintainer is at work, or the plan is out of date */
export const applyDropAll = async (pool: Pool, plan: Plan, options: ApplyOptions): Promise<DroppedAll> => {
  const replaces = (step: Plan['steps'][number]): boolean => step.name.startsWith('drop replaced ');
  const replaced = await applyDropHeld(
    pool,
    { ...plan, steps: plan.steps.filter(replaces) },
    { signal: options.signal },
  );
  // What is left rests on tables that the first half does not touch; its own basis is that of now.
  const rest = {
    ...plan,
    basis: await basisOf(pool, plan.set),
    steps: plan.steps.filter((step) => !replaces(step)),
  };
  return { ...(await applyDrop(pool, rest, options)), replaced };
};
