/** Carries out a plan to adopt a table; what fails before the exchange is taken away again. */
import { queryUntil } from '../../../db/cancel.ts';
import { sqlstateOf } from '../../../db/errors.ts';
import { withClient, withTransaction } from '../../../db/pool.ts';
import type { Client, Pool } from '../../../db/query.ts';
import { messageOf, WarehouseError } from '../../../runtime/errors.ts';
import { asMaintainer } from '../apply.ts';
import { isLost, type OnlineOptions } from '../consolidate/apply.ts';
import { atOneSnapshot } from '../consolidate/copy.ts';
import { PATIENCE, runLocked, type Patience } from '../consolidate/ladder.ts';
import { prove } from '../consolidate/prove.ts';
import { REPLAY_SETTINGS, replayAll } from '../consolidate/replay.ts';
import { waitForOlder } from '../consolidate/snapshots.ts';
import type { Step } from '../plan.ts';
import { abandon } from './abandon.ts';
import { basisOfDraft, draftAdoption, readObstacles, type Adoption } from './adoption.ts';
import { copiedAt, keepProof, readAdopted, stepOf, type AdoptedTable } from './journal.ts';
import type { AdoptPlan, Phase } from './plan.ts';
import { replayForward, SWAP_SETTINGS } from './statements.ts';
import { makeMissingWeeks } from './weeks.ts';

/** What happens meanwhile. */
export interface AdoptEvent {
  readonly kind: 'step' | 'done';
  readonly set: string;
  readonly step: string;
}

/** How to carry out a plan. */
export type AdoptOptions = OnlineOptions<AdoptEvent>;

/** What became of a table. */
export interface AdoptResult extends AdoptedTable {
  readonly set: string;
  readonly table: string;
}

/** What a phase works with. */
export interface Work {
  readonly pool: Pool;
  readonly adoption: Adoption;
  readonly signal: AbortSignal;
  readonly patience: Patience | undefined;
}

/**
 * Carries out a plan of `planAdopt`. One maintainer works on a set at a time.
 *
 * @throws WarehouseError `conflict` when somebody else maintains the set, or when the table has changed since the plan; what any
 *   step failed with, after what it had made is taken away
 */
export const applyAdopt = (pool: Pool, plan: AdoptPlan, options: AdoptOptions = {}): Promise<AdoptResult> =>
  asMaintainer(pool, plan.set, options.signal, async (signal) => {
    const drafted = await draftAdoption(pool, plan.request);
    if (drafted.obstacles.length > 0 || basisOfDraft(drafted) !== plan.basis) {
      throw new WarehouseError('conflict', `${plan.request.table} is no longer what the plan was made for`, {
        remedy: 'Plan again and look at what is different; nothing was done.',
      });
    }
    const { patience, onEvent } = options;
    return settle({ pool, adoption: plan.adoption, signal, patience }, plan.steps, onEvent);
  });

/** Runs steps to the exchange; whatever fails before it is taken away. */
export const settle = async (
  work: Work,
  steps: readonly Step[],
  onEvent: AdoptOptions['onEvent'],
): Promise<AdoptResult> => {
  const { pool, adoption, patience, signal } = work;
  try {
    await runSteps(work, PHASES, steps, onEvent);
  } catch (thrown) {
    // Who has lost the lock must leave the rest to whoever takes it.
    if (isLost(signal)) throw thrown;
    // The answer to the last commit may be all that was lost.
    if ((await stepOf(pool, adoption.set)) !== 'swapped') {
      await abandon(pool, adoption, messageOf(thrown), patience);
      throw thrown;
    }
  }
  return {
    set: adoption.set,
    table: `${adoption.schemaName}.${adoption.tableName}`,
    ...(await readAdopted(pool, adoption)),
  };
};

/** Runs the statements of one kind of step. */
export type Run = (work: Work, statements: readonly string[]) => Promise<unknown>;

/** Runs steps one after the other, telling of each. */
export const runSteps = async (
  work: Work,
  phases: Readonly<Record<string, Run>>,
  steps: readonly Step[],
  onEvent: AdoptOptions['onEvent'],
): Promise<void> => {
  const { set } = work.adoption;
  for (const step of steps) {
    work.signal.throwIfAborted();
    onEvent?.({ kind: 'step', set, step: step.name });
    await phases[step.name.split(' ')[0] ?? '']?.(work, step.sql);
    onEvent?.({ kind: 'done', set, step: step.name });
  }
};

/** Runs statements in one transaction. */
export const inTransaction = (pool: Pool, statements: readonly string[]): Promise<void> =>
  withTransaction(pool, (client) => inOrder(client, statements));

const inOrder = async (client: Client, statements: readonly string[]): Promise<void> => {
  for (const statement of statements) await client.query(statement);
};

/** The last statement of a step is its mark in the journal. */
const split = (statements: readonly string[]): readonly [work: readonly string[], mark: string] => [
  statements.slice(0, -1),
  statements.at(-1) ?? '',
];

/** Statements of one transaction of the `weeks` step: register, its policy, make, unregister. */
const STATEMENTS_PER_WEEKS = 4;

const PHASES: Readonly<Record<Phase, Run>> = {
  stage: ({ pool }, statements) => inTransaction(pool, statements),
  weeks: async ({ pool, signal }, statements) => {
    for (let n = 0; n < statements.length; n += STATEMENTS_PER_WEEKS) {
      signal.throwIfAborted();
      await inTransaction(pool, statements.slice(n, n + STATEMENTS_PER_WEEKS));
    }
  },
  capture: (work, statements) => locked(work, statements),
  copy: async (work, statements) => {
    const { pool, adoption, signal } = work;
    const [copies, mark] = split(statements);
    await withWeeks(work, adoption.source, async () => {
      await pool.query(`truncate ${adoption.root}`);
      await atOneSnapshot(pool, copies, signal);
    });
    await pool.query(mark);
  },
  index: ({ pool, signal }, statements) =>
    withClient(pool, async (client) => {
      for (const statement of statements) await queryUntil(client, statement, signal);
    }),
  arm: ({ pool }, statements) => inTransaction(pool, statements),
  replay: async (work, statements) => {
    const [round, mark] = split(statements);
    await catchUp(work, round);
    await work.pool.query(mark);
  },
  prove: async ({ pool, adoption, signal }, statements) => {
    await keepProof(pool, adoption.set, 'forward', await prove(pool, statements, signal));
  },
  swap: async (work, statements) => {
    const { pool, adoption, signal, patience } = work;
    await refuseNewObstacles(pool, adoption);
    await waitForOlder(pool, copiedAt(adoption.set), (patience ?? PATIENCE).snapshots_ms, signal);
    const round = (): Promise<void> => catchUp(work, replayForward(adoption));
    await round();
    await locked(work, statements, { settings: [...REPLAY_SETTINGS, ...SWAP_SETTINGS], between: round });
  },
};

/** What is tied to the table since the plan and could not follow the exchange. */
const refuseNewObstacles = async (
  pool: Pool,
  { source, tableName, timeName, hashName }: Adoption,
): Promise<void> => {
  const [found] = await readObstacles(pool, source, timeName, hashName);
  if (found === undefined) return;
  throw new WarehouseError('conflict', `${tableName} cannot be adopted any more: ${found.obstacle}`, {
    remedy: found.remedy,
  });
};

/** Runs statements under strong locks, by short waits. */
export const locked = (
  { pool, adoption, signal, patience }: Work,
  statements: readonly string[],
  more: { readonly settings?: readonly string[]; readonly between?: () => Promise<unknown> } = {},
): Promise<number> =>
  runLocked(pool, adoption.set, statements, {
    ...more,
    signal,
    table: adoption.source,
    ...(patience !== undefined && { patience }),
  });

/** Times that rows of a week that is not there may come between making weeks and what needs them. */
const WEEK_ATTEMPTS = 20;
const NO_PARTITION = '23514';

/** Makes the weeks that rows of the table need, and again where writers were faster. */
const withWeeks = async (
  { pool, adoption }: Work,
  table: string,
  move: () => Promise<unknown>,
): Promise<void> => {
  for (let attempt = 1; ; attempt++) {
    await makeMissingWeeks(pool, adoption, table);
    try {
      await move();
      return;
    } catch (thrown) {
      if (sqlstateOf(thrown) !== NO_PARTITION || attempt === WEEK_ATTEMPTS) throw thrown;
    }
  }
};

/** Replays until hardly anything is left. */
const catchUp = (work: Work, round: readonly string[]): Promise<void> =>
  withWeeks(work, work.adoption.forward.log, () => replayAll(work.pool, round, work.signal));
