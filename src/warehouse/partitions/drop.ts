/** The verb `drop`: what retention took out, what consolidation replaced and what a set was made of, each once it was held long enough. */
import type { Pool } from '../../db/query.ts';
import { applyDropAdopted, planDropAdopted } from './adopt/held.ts';
import type { ApplyOptions } from './apply.ts';
import { applyDropHeld, planDropHeld, type DroppedWeek } from './consolidate/held.ts';
import { applyDrop, planDrop, type Dropped } from './held.ts';
import { basisOf, type Plan } from './plan.ts';

/** What was dropped. */
export interface DroppedAll extends Dropped {
  /** Old weeks of consolidations, each dropped alone; from now on those cannot be undone. */
  readonly replaced: readonly DroppedWeek[];
  /** Whether the plain table that the set was made of is gone; its adoption cannot be undone any more. */
  readonly adopted: boolean;
}

/** Plans the drop of a set's held tables whose time has come; reads only. */
export const planDropAll = async (
  pool: Pool,
  set: string,
  options: { readonly now: Date },
): Promise<Plan> => {
  const replaced = await planDropHeld(pool, set, options);
  const adopted = await planDropAdopted(pool, set, options);
  const { notes, ...taken } = await planDrop(pool, set, options);
  return {
    ...taken,
    steps: [...replaced.steps, ...adopted.steps, ...taken.steps],
    notes: notes.filter((note) => !note.endsWith('it is held as consolidated')),
  };
};

/** Carries out a plan of {@link planDropAll}. @throws WarehouseError `conflict` when another maintainer is at work, or the plan is out of date */
export const applyDropAll = async (pool: Pool, plan: Plan, options: ApplyOptions): Promise<DroppedAll> => {
  const { signal } = options;
  const only = (prefix: string): Plan => ({
    ...plan,
    steps: plan.steps.filter((step) => step.name.startsWith(prefix)),
  });
  // The parts touch different tables; what one has dropped, the basis of the next one knows.
  const now = async (part: Plan): Promise<Plan> => ({ ...part, basis: await basisOf(pool, plan.set) });
  const replaced = await applyDropHeld(pool, only('drop replaced '), { signal });
  const adopted = await applyDropAdopted(pool, await now(only('drop adopted ')), { signal });
  const rest = {
    ...plan,
    steps: plan.steps.filter((step) => !/^drop (?:replaced|adopted) /u.test(step.name)),
  };
  return { ...(await applyDrop(pool, await now(rest), options)), replaced, adopted };
};
