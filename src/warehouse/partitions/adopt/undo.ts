/** Takes an adoption back while the plain table is held: what was written since is replayed into it, the copy is proven, and the tables change places again. */
import { sql } from 'kysely';
import { on, type Pool } from '../../../db/query.ts';
import { identifier } from '../../../db/quote.ts';
import { messageOf, WarehouseError } from '../../../runtime/errors.ts';
import { asMaintainer } from '../apply.ts';
import { isLost } from '../consolidate/apply.ts';
import { PATIENCE } from '../consolidate/ladder.ts';
import { proofStatements, prove } from '../consolidate/prove.ts';
import { REPLAY_SETTINGS, replayAll } from '../consolidate/replay.ts';
import { waitForOlder } from '../consolidate/snapshots.ts';
import { basisOf, momentary, plainStep, refuseStale, type Plan, type Step, type StepLock } from '../plan.ts';
import { readDependents, type Adoption, type Dependent } from './adoption.ts';
import { inTransaction, locked, runSteps, type AdoptOptions, type Run, type Work } from './apply.ts';
import { copiedAt, keepProof, noteFailure, readOpenAdoptions, stepOf, type OpenAdoption } from './journal.ts';
import { findTable } from './table.ts';
import { COPIED_AT } from '../consolidate/statements.ts';
import { dropUndone, mark, replayBackward, swapBackStatements, SWAP_SETTINGS } from './statements.ts';

/** What became of it. */
export interface UndoneAdoption {
  readonly set: string;
  readonly table: string;
}

/**
 * Plans to put a plain table back in place of the set that was made of it. Indexes, grants and policies that the set got since
 * are no part of it: the table comes back as it was, with the rows of now.
 *
 * @throws WarehouseError `config` when there is no such set, `conflict` when it cannot be undone, with the remedy
 */
export const planUndoAdopt = async (pool: Pool, set: string): Promise<Plan> => {
  const basis = await basisOf(pool, set);
  const { adoption, step } = await findOpen(pool, set);
  if (step !== 'swapped') {
    throw new WarehouseError(
      'conflict',
      `the adoption of ${adoption.schemaName}.${adoption.tableName} stopped behind "${step}"`,
      {
        remedy: 'Run `pgstrata partitions adopt` again: it ends first what was broken off.',
      },
    );
  }
  await refuseUndo(pool, adoption);
  const steps = undoSteps(adoption, await readDependents(pool, adoption.source));
  return {
    verb: 'undo',
    set,
    basis,
    steps,
    notes: [
      'Indexes, grants and policies that were made since the adoption are not taken back to the plain table.',
    ],
  };
};

/**
 * Carries out a plan of `planUndoAdopt`. What fails before the exchange leaves the set as it is, and can be tried again.
 *
 * @throws WarehouseError `conflict` when somebody else maintains the set, or when it has changed since the plan
 */
export const applyUndoAdopt = (pool: Pool, plan: Plan, options: AdoptOptions = {}): Promise<UndoneAdoption> =>
  asMaintainer(pool, plan.set, options.signal, async (signal) => {
    await refuseStale(pool, plan);
    const { adoption } = await findOpen(pool, plan.set);
    return undo({ pool, adoption, signal, patience: options.patience }, plan.steps, options.onEvent);
  });

/**
 * The set that a table was made, by the table's name.
 *
 * @throws WarehouseError `usage` when there is no such table, `conflict` when its adoption cannot be undone any more
 */
export const adoptedSet = async (pool: Pool, name: string): Promise<string> => {
  const { schema, table } = await findTable(pool, name);
  const found = (await readOpenAdoptions(pool)).find(
    ({ adoption }) => adoption.schemaName === schema && adoption.tableName === table,
  );
  if (found !== undefined) return found.adoption.set;
  throw notUndoable(`${schema}.${table}`);
};

const notUndoable = (what: string): WarehouseError =>
  new WarehouseError('conflict', `there is no adoption of ${what} that could be undone`, {
    remedy: 'It was never adopted, or the plain table is not held any more.',
  });

const findOpen = async (pool: Pool, set: string): Promise<OpenAdoption> => {
  const found = (await readOpenAdoptions(pool)).find(({ adoption }) => adoption.set === set);
  if (found !== undefined) return found;
  throw notUndoable(set);
};

/** Runs the steps; a failure before the exchange leaves everything as it was. */
export const undo = async (
  work: Work,
  steps: readonly Step[],
  onEvent: AdoptOptions['onEvent'],
): Promise<UndoneAdoption> => {
  const { pool, adoption, signal } = work;
  try {
    await runSteps(work, PHASES, steps, onEvent);
  } catch (thrown) {
    if (isLost(signal)) throw thrown;
    const step = await stepOf(pool, adoption.set);
    // Undone: what could not be dropped yet, recovery drops.
    if (step === 'undoing') await noteFailure(pool, adoption.set, messageOf(thrown), 'swapped');
    if (step === 'undoing' || step === 'swapped') throw thrown;
  }
  return { set: adoption.set, table: `${adoption.schemaName}.${adoption.tableName}` };
};

/** Why it cannot be undone. */
const refuseUndo = async (
  pool: Pool,
  { set, source, held, schemaName, tableName, timeName, hashName }: Adoption,
): Promise<void> => {
  const { rows } = await sql<{ obstacle: string; remedy: string }>`
    select 'weeks of the set were taken out by retention since' as obstacle, 'Nothing: the plain table would get their rows back.' as remedy
     where exists (select from strata.held_partitions h where h.set_name = ${set} and h.reason = 'retained' and h.state <> 'reattached')
    union all
    select 'weeks of the set were consolidated, and their old partitions are held', 'Undo the consolidations first, or wait until they are dropped.'
     where exists (select from strata.consolidations c where c.set_name = ${set} and c.finished_at is null)
    union all
    select 'the plain table is gone', 'Nothing: it can be undone no more.' where to_regclass(${held}) is null
    union all
    select o.obstacle, o.remedy
      from strata.adoption_obstacles(to_regclass(${source}), ${timeName}, ${hashName}) o
     where o.obstacle not like '% is partitioned already' and to_regclass(${source}) is not null`.execute(
    on(pool),
  );
  const [first] = rows;
  if (first !== undefined) {
    throw new WarehouseError('conflict', `${schemaName}.${tableName} cannot be put back: ${first.obstacle}`, {
      remedy: first.remedy,
    });
  }
};

type Phase = 'reopen' | 'replay' | 'prove' | 'swap' | 'drop';

/** The steps. */
export const undoSteps = (adoption: Adoption, dependents: readonly Dependent[]): readonly Step[] => {
  const { source, backward, schema, rootName } = adoption;
  const root = `${schema}.${identifier(rootName)}`;
  const step = (
    phase: Phase,
    statements: readonly string[],
    locks: readonly StepLock[],
    why: string,
  ): Step => {
    const name = `${phase} ${phase === 'drop' ? rootName : adoption.tableName}`;
    return plainStep({ name, week: null, sql: statements, locks, why });
  };
  const reads = [momentary(source, 'ACCESS SHARE')];
  return [
    step(
      'reopen',
      [mark(adoption, 'undoing')],
      [],
      'From here on a crash is resumed towards the plain table.',
    ),
    step(
      'replay',
      [...replayBackward(adoption), mark(adoption, 'undoing', COPIED_AT)],
      reads,
      'Brings over what was written since the exchange, a transaction per round, until hardly anything is left.',
    ),
    step(
      'prove',
      proofStatements(backward),
      reads,
      'Counts and order-independent hashes of both sides at one snapshot.',
    ),
    step(
      'swap',
      swapBackStatements(adoption, dependents),
      [
        ...dependents.flatMap(({ locking, name }) =>
          locking === null ? [] : [momentary(name, 'ACCESS EXCLUSIVE')],
        ),
        momentary(source, 'ACCESS EXCLUSIVE'),
      ],
      'One short transaction: replays the rest, and the plain table takes its name, triggers and sequences back.',
    ),
    step(
      'drop',
      dropUndone(adoption),
      [momentary(root, 'ACCESS EXCLUSIVE')],
      'The partitioned table is proven to hold nothing else.',
    ),
  ];
};

/** Rows that two keys of the plain table would claim. */
const refuseTwins = (thrown: unknown, { source, held }: Adoption): never => {
  if (thrown instanceof WarehouseError && thrown.detail.sqlstate === '23505') {
    throw new WarehouseError(
      'conflict',
      `rows written since the adoption are no longer unique by the key of the plain table: ${thrown.message}`,
      {
        sqlstate: '23505',
        remedy: `Delete or correct the twins in ${source}, which ${held} cannot hold; nothing was changed.`,
      },
      thrown,
    );
  }
  throw thrown;
};

const catchUp = async ({ pool, adoption, signal }: Work, round: readonly string[]): Promise<void> => {
  await replayAll(pool, round, signal).catch((thrown: unknown) => refuseTwins(thrown, adoption));
};

const PHASES: Readonly<Record<Phase, Run>> = {
  reopen: ({ pool }, statements) => inTransaction(pool, statements),
  replay: async (work, statements) => {
    await catchUp(work, statements.slice(0, -1));
    await work.pool.query(statements.at(-1) ?? '');
  },
  prove: async ({ pool, adoption, signal }, statements) => {
    await keepProof(pool, adoption.set, 'backward', await prove(pool, statements, signal));
  },
  swap: async (work, statements) => {
    const { pool, adoption, signal, patience } = work;
    await waitForOlder(pool, copiedAt(adoption.set), (patience ?? PATIENCE).snapshots_ms, signal);
    const round = (): Promise<void> => catchUp(work, replayBackward(adoption));
    await round();
    await locked(work, statements, { settings: [...REPLAY_SETTINGS, ...SWAP_SETTINGS], between: round });
  },
  drop: ({ pool }, statements) => inTransaction(pool, statements),
};
