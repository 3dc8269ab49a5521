/**
 * Ends what a crash broke off. The journal says what is committed, and each step is one transaction or can be repeated:
 *
 * ```
 *   planned, capturing                                   ──► taken away: the copy is not whole
 *   copying, indexing, arming, replaying, verified       ──► gone on with, from the first index that is missing
 *   undoing, undone                                      ──► gone on with
 *   swapped, dropped, failed                             ──► nothing to do
 * ```
 */
import { sql } from 'kysely';
import { on, type Pool } from '../../../db/query.ts';
import { messageOf } from '../../../runtime/errors.ts';
import { asMaintainer } from '../apply.ts';

import { abandon } from './abandon.ts';
import { readDependents, type Adoption } from './adoption.ts';
import { inTransaction, settle, type AdoptOptions, type Work } from './apply.ts';
import { readOpenAdoptions, type OpenAdoption } from './journal.ts';
import { adoptSteps } from './plan.ts';
import { dropUndone } from './statements.ts';
import { undo, undoSteps } from './undo.ts';

/** What became of an adoption that was broken off. */
export interface RecoveredAdoption {
  readonly set: string;
  readonly table: string;
  readonly outcome: 'adopted' | 'undone' | 'taken away' | 'failed';
  readonly error: string | null;
}

/** Why an adoption that was taken away failed, for the journal. */
const BROKEN_OFF = 'broken off before its copy was whole';

/**
 * Resumes or takes away every adoption that was broken off; call it at the start, before planning. Each fails alone.
 *
 * @throws WarehouseError `conflict` when somebody else maintains one of the sets: then it is not broken off
 */
export const recoverAdoptions = async (
  pool: Pool,
  options: AdoptOptions = {},
): Promise<readonly RecoveredAdoption[]> => {
  const recovered: RecoveredAdoption[] = [];
  for (const { adoption, step } of await readOpenAdoptions(pool)) {
    if (step === 'swapped') continue;
    const one = await asMaintainer(pool, adoption.set, options.signal, async (signal) => {
      // Whoever worked on it may have gone on until we had the lock.
      const open = (await readOpenAdoptions(pool)).find((now) => now.adoption.set === adoption.set);
      return open === undefined || open.step === 'swapped'
        ? null
        : recover(
            { pool, adoption: open.adoption, signal, patience: options.patience },
            open,
            options.onEvent,
          );
    });
    if (one !== null) recovered.push(one);
  }
  return recovered;
};

const recover = async (
  work: Work,
  open: OpenAdoption,
  onEvent: AdoptOptions['onEvent'],
): Promise<RecoveredAdoption> => {
  const { set, schemaName, tableName } = open.adoption;
  const table = `${schemaName}.${tableName}`;
  try {
    const outcome = await goOn(work, open, onEvent);
    return { set, table, outcome, error: outcome === 'taken away' ? BROKEN_OFF : null };
  } catch (thrown) {
    return { set, table, outcome: 'failed', error: messageOf(thrown) };
  }
};

const goOn = async (
  work: Work,
  { adoption, step, fingerprint }: OpenAdoption,
  onEvent: AdoptOptions['onEvent'],
): Promise<RecoveredAdoption['outcome']> => {
  const { pool, patience } = work;
  switch (step) {
    case 'planned':
    case 'capturing':
      await abandon(pool, adoption, BROKEN_OFF, patience);
      return 'taken away';
    case 'undoing':
      await undo(work, undoSteps(adoption, await readDependents(pool, adoption.source)), onEvent);
      return 'undone';
    case 'undone':
      await inTransaction(pool, dropUndone(adoption));
      return 'undone';
    default: {
      const extent = {
        rows: null,
        bytes: 0,
        pages: 0,
        runs: [],
        count: 0,
        indexes: await readMissingIndexes(pool, adoption),
      };
      const steps = adoptSteps(adoption, await readDependents(pool, adoption.source), fingerprint, extent);
      await settle(
        work,
        steps.filter(({ name }) => !/^(?:stage|weeks|capture|copy) /u.test(name)),
        onEvent,
      );
      return 'adopted';
    }
  }
};

/** Statements for the indexes that are not there yet. */
const readMissingIndexes = async (
  pool: Pool,
  { schemaName, indexes }: Adoption,
): Promise<readonly string[]> => {
  const { rows } = await sql<{ name: string }>`
    select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = ${schemaName} and c.relname = any (${indexes.map(({ made }) => made)}::text[])`.execute(
    on(pool),
  );
  const there = new Set(rows.map(({ name }) => name));
  return indexes.filter(({ made }) => !there.has(made)).flatMap(({ statements }) => statements);
};
