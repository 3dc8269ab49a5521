/** The registry: what each verb of maintenance plans, does and takes back. */
import type { Pool } from '../db/query.ts';
import { applyEnsure, planEnsure } from '../warehouse/partitions/ensure-plan.ts';
import type { ConsolidateResult } from '../warehouse/partitions/consolidate/apply.ts';
import {
  applyOldWeeks,
  applyUndoOldWeeks,
  planOldWeeks,
  planUndoOldWeeks,
} from '../warehouse/partitions/consolidate/columnar.ts';
import { recoverConsolidations } from '../warehouse/partitions/consolidate/recover.ts';
import { applyDropAll, planDropAll } from '../warehouse/partitions/drop.ts';
import { applyOptimize, planOptimize } from '../warehouse/partitions/optimize.ts';
import type { Plan } from '../warehouse/partitions/plan.ts';
import { applyRetain } from '../warehouse/partitions/retain/apply.ts';
import { planRetain } from '../warehouse/partitions/retain/plan.ts';
import { applyUndoRetention, planUndoRetention } from '../warehouse/partitions/retain/undo.ts';

/** Verbs that go over sets, in the order in which they run when several are due. */
export const VERB_NAMES = ['ensure', 'retain', 'drop', 'consolidate', 'optimize'] as const;

/** A verb that goes over sets. */
export type MaintenanceVerb = (typeof VERB_NAMES)[number];

/** What a plan is made for. */
export interface PlanOptions {
  /** The present instant. */
  readonly now: Date;
  /** Only these weeks, by their starts; default what the set's policy says. */
  readonly weeks?: readonly Date[];
}

/** Carries out exactly the plan's steps; what it returns is JSON for the journal. */
type Apply = (
  pool: Pool,
  plan: Plan,
  options: { readonly signal: AbortSignal; readonly onEvent: (event: object) => void },
) => Promise<object>;

/** What an undo is planned for: one week by its start, as itself and as a list of one. */
export interface UndoOptions {
  readonly now: Date;
  readonly week: Date;
  readonly weeks: readonly Date[];
}

/** What a verb has to offer. */
export interface VerbModule {
  readonly plan: (pool: Pool, set: string, options: PlanOptions) => Promise<Plan>;
  readonly apply: Apply;
  /** Ends what a crash broke off, before anything is planned. */
  readonly recover?: (
    pool: Pool,
    set: string,
    options: { readonly signal: AbortSignal; readonly onEvent: (event: object) => void },
  ) => Promise<unknown>;
  /** Whether the options' weeks mean anything to it. */
  readonly takesWeeks?: true;
  /** What of a result did not go well although apply returned, as where every week fails alone; null for nothing. */
  failure?(result: object): string | null;
  /** Takes back what the verb has done to one week; a plan without steps when it has done nothing to it. */
  readonly undo?: {
    readonly plan: (pool: Pool, set: string, options: UndoOptions) => Promise<Plan>;
    readonly apply: Apply;
  };
}

/** Every week is consolidated, and fails, alone: what the run says of those that did. */
const failedWeeks = (result: object): string | null =>
  (result as ConsolidateResult).weeks
    .filter((week) => week.outcome === 'failed')
    .map((week) => `${week.name}: ${week.error ?? 'failed'}`)
    .join('; ') || null;

/** The project's own verbs. */
export const MAINTENANCE_VERBS: Readonly<Partial<Record<MaintenanceVerb, VerbModule>>> = {
  ensure: { plan: planEnsure, apply: applyEnsure, takesWeeks: true },
  retain: {
    plan: planRetain,
    apply: applyRetain,
    undo: { plan: planUndoRetention, apply: applyUndoRetention },
  },
  drop: { plan: planDropAll, apply: applyDropAll },
  consolidate: {
    plan: planOldWeeks,
    apply: applyOldWeeks,
    recover: recoverConsolidations,
    takesWeeks: true,
    failure: failedWeeks,
    undo: { plan: planUndoOldWeeks, apply: applyUndoOldWeeks },
  },
  optimize: { plan: planOptimize, apply: applyOptimize },
};
