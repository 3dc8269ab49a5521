/**
 * Gives a consolidation up before its swap: whatever it has made goes, and the week is as it was.
 *
 * Triggers can be dropped only under a lock that waits for the week's readers. So that a long query cannot keep the copy on disk
 * and the log growing, the capture is first made to do nothing, which needs no lock on the week.
 */
import { withTransaction } from '../../../db/pool.ts';
import type { Pool } from '../../../db/query.ts';
import { markFailed, noteError, stepOf } from './journal.ts';
import { runLocked, type Patience } from './ladder.ts';
import { dropTriggers, dropWhatIsMade, silenceCapture } from './statements.ts';
import type { ConsolidationWeek } from './week.ts';

/**
 * Cleans up and closes the journal row. Can be broken off and called again.
 *
 * @param error why, for the journal
 * @throws WarehouseError `conflict` when the week's triggers could not be dropped: they do nothing, and the journal row stays open
 */
export const abandon = async (
  pool: Pool,
  week: ConsolidationWeek,
  error: string,
  patience?: Patience,
): Promise<void> => {
  if ((await stepOf(pool, week)) === null) return;
  const { rows } = await pool.query<{ captured: boolean; logged: boolean }>(
    `select exists (select from pg_trigger g where g.tgfoid = to_regproc($1)) as captured, to_regclass($1) is not null as logged`,
    [week.forward.log],
  );
  const { captured = false, logged = false } = rows[0] ?? {};
  // Cleaning up is no part of what the caller may have stopped.
  const options = { signal: new AbortController().signal, ...(patience !== undefined && { patience }) };
  await noteError(pool, week, error);
  if (captured) {
    if (logged) await runLocked(pool, week.set, silenceCapture(week), options);
    await runLocked(pool, week.set, dropTriggers(week), options);
  } else {
    await withTransaction(pool, async (client) => {
      for (const statement of dropWhatIsMade(week)) await client.query(statement);
    });
  }
  await markFailed(pool, week, error);
};
