/** The registry: what each verb of maintenance plans, does and takes back. */
import type { Pool } from '../db/query.ts';
import { applyEnsure, planEnsure } from '../warehouse/partitions/ensure-plan.ts';
import type { Plan } from '../warehouse/partitions/plan.ts';

/** Verbs that go over sets, in the order in which they run when several are due. */
export const VERB_NAMES = ['ensure', 'retain', 'consolidate', 'optimize'] as const;

/** A verb that goes over sets. */
export type MaintenanceVerb = (typeof VERB_NAMES)[number];

/** What a plan is made for. */
export interface PlanOptions {
  /** The present instant. */
  readonly now: Date;
  /** Only the weeks of these instants; default what the set's policy says. */
  readonly weeks?: readonly Date[];
  /** At most so many weeks in one plan; default no limit but the verb's own. */
  readonly batch?: number;
}

/** Carries out exactly the plan's steps; what it returns is JSON for the journal. */
type Apply = (
  pool: Pool,
  plan: Plan,
  options: { readonly signal: AbortSignal; readonly onEvent: (event: object) => void },
) => Promise<object>;

/** What a verb has to offer. */
export interface VerbModule {
  readonly plan: (pool: Pool, set: string, options: PlanOptions) => Promise<Plan>;
  readonly apply: Apply;
  /** Takes back what the verb has done to one week; a plan without steps when it has done nothing to it. */
  readonly undo?: {
    readonly plan: (
      pool: Pool,
      set: string,
      options: { readonly now: Date; readonly week: Date },
    ) => Promise<Plan>;
    readonly apply: Apply;
  };
}

/** The project's own verbs. */
export const MAINTENANCE_VERBS: Readonly<Partial<Record<MaintenanceVerb, VerbModule>>> = {
  ensure: { plan: planEnsure, apply: applyEnsure },
};
