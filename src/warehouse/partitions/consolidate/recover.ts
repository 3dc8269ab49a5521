/**
 * Ends what a crash broke off. The journal says what is committed, and each step is one transaction or can be repeated:
 *
 * ```
 *   planned, capturing                                    ──► taken away: the copy is not whole
 *   copying, freezing, indexing, replaying, verified      ──► gone on with, from the first index that is missing
 *   undoing                                               ──► gone on with
 *   swapped, undone, dropped, failed                      ──► nothing to do, but a table that an undo meant to drop
 * ```
 */
import type { Pool } from '../../../db/query.ts';
import type { Step } from '../plan.ts';
import { abandon } from './abandon.ts';
import { asMaintainer } from '../apply.ts';
import {
  PHASES,
  runSteps,
  settle,
  type OnlineOptions,
  type ConsolidatedWeek,
  type ConsolidateResult,
} from './apply.ts';
import { dropLeftUndone } from './held.ts';
import { readOpen, type OpenConsolidation } from './journal.ts';
import { readUnmatched, weekSteps } from './plan.ts';
import { readMissing, undoSteps, undoWeek } from './undo.ts';
import { readWeek, type ConsolidationWeek } from './week.ts';

/** Why a consolidation that was taken away failed, for the journal. */
const BROKEN_OFF = 'broken off before its copy was whole';

/**
 * Resumes or undoes every consolidation that was broken off; call it at the start, before planning.
 *
 * @returns what became of each week that was touched
 * @throws WarehouseError `conflict` when somebody else maintains the set
 */
export const recoverConsolidations = (
  pool: Pool,
  set: string,
  options: OnlineOptions = {},
): Promise<ConsolidateResult> =>
  asMaintainer(pool, set, options.signal, async (signal) => {
    await dropLeftUndone(pool, set);
    const weeks: ConsolidatedWeek[] = [];
    for (const one of await readOpen(pool, set)) {
      if (one.way !== 'online' || one.step === 'swapped') continue;
      const week = await readWeek(pool, set, one);
      weeks.push(
        one.step === 'undoing'
          ? await undoWeek(pool, set, one, undoSteps(week, await readMissing(pool, week)), {
              ...options,
              signal,
            })
          : await resume(pool, one, week, { ...options, signal }),
      );
    }
    return { set, weeks };
  });

const resume = async (
  pool: Pool,
  { step, name }: OpenConsolidation,
  week: ConsolidationWeek,
  { signal, onEvent, patience }: OnlineOptions & { readonly signal: AbortSignal },
): Promise<ConsolidatedWeek> => {
  if (step === 'planned' || step === 'capturing') {
    await abandon(pool, week, BROKEN_OFF, patience);
    const nothing = { rows: null, bytes_before: null, bytes_after: null, root_locked_ms: null };
    return { name, week: week.start, outcome: 'failed', error: BROKEN_OFF, ...nothing };
  }
  const work = { pool, week, signal, patience };
  return settle(work, onEvent, async () => {
    const size = { rows: null, heap_bytes: 0, index_bytes: 0 };
    const steps = weekSteps(week, size, await readUnmatched(pool, week.root, week.stage));
    await runSteps(work, PHASES, steps.filter(behindCopy), onEvent);
  });
};

const behindCopy = ({ name }: Step): boolean => !/^(?:stage|capture|copy) /u.test(name);
