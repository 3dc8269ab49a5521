/** Takes back what maintenance did to one week: the verbs are asked in turn whether it was theirs. */
import type { Pool } from '../db/query.ts';
import { WarehouseError } from '../runtime/errors.ts';
import type { Plan } from '../warehouse/partitions/plan.ts';
import {
  chooseSets,
  recordRun,
  weekStartOf,
  type RunOptions,
  type SetRun,
  type Verbs,
} from './maintenance.ts';
import { MAINTENANCE_VERBS, type UndoOptions, type VerbModule } from './verbs.ts';

/** What to take back. */
export interface UndoScope {
  readonly pool: Pool;
  readonly set: string;
  /** Any instant of the week. */
  readonly week: Date;
  readonly now: Date;
  readonly verbs?: Verbs;
}

/** A plan, and the verb whose work it takes back. */
export interface UndoPlan {
  readonly of: string;
  readonly plan: Plan;
}

/**
 * Plans the undo of a week; changes nothing.
 *
 * @throws WarehouseError `usage` for an unknown set, `conflict` when there is nothing to take back or it cannot be
 */
export const planUndo = async (scope: UndoScope): Promise<UndoPlan> => {
  await chooseSets(scope.pool, [scope.set]);
  const notes: string[] = [];
  for (const [of, module] of undoable(scope.verbs)) {
    const plan = await module.undo.plan(scope.pool, scope.set, undoOptions(scope));
    if (plan.steps.length > 0) return { of, plan };
    notes.push(...plan.notes);
  }
  const day = scope.week.toISOString().slice(0, 10);
  throw new WarehouseError(
    'conflict',
    [`there is nothing to take back for the week of ${day} in ${scope.set}`, ...notes].join('; '),
    { remedy: 'Weeks that are held can be put back; `pgstrata partitions` counts them.' },
  );
};

/**
 * Takes back what was done to a week and records the run, verb `undo`.
 *
 * @throws WarehouseError as {@link planUndo}; what goes wrong later is in the result
 */
export const undoWeek = async (scope: UndoScope & Omit<RunOptions, 'weeks' | 'due'>): Promise<SetRun> => {
  const { of } = await planUndo(scope);
  const module = new Map(undoable(scope.verbs)).get(of)!;
  return recordRun(scope.set, scope, 'undo', {
    plan: (pool) => module.undo.plan(pool, scope.set, undoOptions(scope)),
    apply: module.undo.apply,
    recover: module.recover,
    failure: (result) => module.failure?.(result) ?? null,
  });
};

const undoOptions = ({ now, week }: UndoScope): UndoOptions => {
  const start = weekStartOf(week);
  return { now, week: start, weeks: [start] };
};

type Undoable = VerbModule & Required<Pick<VerbModule, 'undo'>>;

const undoable = (verbs: Verbs = MAINTENANCE_VERBS): [string, Undoable][] =>
  Object.entries(verbs).flatMap(([name, module]) =>
    module.undo === undefined ? [] : [[name, { ...module, undo: module.undo }]],
  );
