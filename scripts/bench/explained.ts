/** What PostgreSQL says that a statement has cost. */
import type { ClientBase } from 'pg';

/** The cost of one run. */
export interface Cost {
  readonly planning_ms: number;
  readonly execution_ms: number;
  /** Pages touched by the execution, in memory or not. */
  readonly buffers: number;
}

interface ExplainRow {
  readonly 'QUERY PLAN': readonly [
    {
      readonly Plan: { readonly 'Shared Hit Blocks': number; readonly 'Shared Read Blocks': number };
      readonly 'Planning Time': number;
      readonly 'Execution Time': number;
    },
  ];
}

/** Runs a statement under EXPLAIN ANALYZE. */
export const explained = async (client: ClientBase, statement: string): Promise<Cost> => {
  const { rows } = await client.query<ExplainRow>(
    `explain (analyze, buffers, timing off, format json) ${statement}`,
  );
  const [plan] = rows[0]!['QUERY PLAN'];
  return {
    planning_ms: plan['Planning Time'],
    execution_ms: plan['Execution Time'],
    buffers: plan.Plan['Shared Hit Blocks'] + plan.Plan['Shared Read Blocks'],
  };
};
