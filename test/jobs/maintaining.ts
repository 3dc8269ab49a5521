/** What the tests of maintenance share: small verbs whose course a test decides, and the journal as it reads. */
import type { Pool } from 'pg';
import { basisOf, type Plan } from '../../src/warehouse/partitions/plan.ts';
import type { PlanOptions, VerbModule } from '../../src/jobs/verbs.ts';
import { eachStep } from '../../src/warehouse/partitions/apply.ts';

const FIRST_WEEK = Date.UTC(2025, 0, 5);
const WEEK_MS = 604_800_000;

/** A plan with as many steps as asked, each of which does nothing: one for each week from 2025-01-05 on, or for those asked for. */
export const planOf = async (
  pool: Pool,
  set: string,
  steps: number,
  weeks?: readonly Date[],
): Promise<Plan> => ({
  verb: 'optimize',
  set,
  basis: await basisOf(pool, set),
  steps: Array.from({ length: steps }, (_unused, index) => ({
    name: `step ${index + 1}`,
    week: new Date(FIRST_WEEK + index * WEEK_MS).toISOString(),
    sql: ['select 1'],
    locks: [],
    rows: null,
    bytes: null,
    why: 'a test wants it',
  })).filter(({ week }) => weeks?.some((asked) => asked.toISOString() === week) ?? true),
  notes: [],
});

/** One call of a verb, as it was made. */
export interface Call {
  readonly set: string;
  readonly options: PlanOptions;
}

/** A verb with one step, that does what it is told, and notes its calls. */
export const testVerb = (
  step: (set: string, pool: Pool, signal: AbortSignal) => Promise<unknown> = () => Promise.resolve(),
  steps = 1,
): VerbModule & { readonly calls: Call[] } => {
  const calls: Call[] = [];
  return {
    calls,
    plan: (pool, set, options) => {
      calls.push({ set, options });
      return planOf(pool, set, steps, options.weeks);
    },
    apply: async (pool, plan, options) => {
      await eachStep(plan.steps, options, async () => {
        await step(plan.set, pool, options.signal);
      });
      return { steps: plan.steps.length };
    },
  };
};

/** A run as the journal has it. */
export interface JournalRow {
  readonly set_name: string;
  readonly verb: string;
  readonly outcome: string;
  readonly asked_by: string;
  readonly error: string | null;
  readonly detail: Record<string, unknown>;
  readonly plan: Partial<Plan>;
  readonly finished: boolean;
}

/** The journal, oldest run first. */
export const journalOf = async (pool: Pool): Promise<readonly JournalRow[]> => {
  const { rows } = await pool.query<JournalRow>(
    `select set_name, verb, outcome, asked_by, error, detail, plan, finished_at is not null as finished
       from strata.maintenance_runs order by run_id`,
  );
  return rows;
};
