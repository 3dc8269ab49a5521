/** Gives a consolidation up before its swap: whatever it has made goes, and the week is as it was. */
import { withTransaction } from '../../../db/pool.ts';
import type { Pool } from '../../../db/query.ts';
import { markFailed, stepOf } from './journal.ts';
import { PATIENCE, runLocked } from './ladder.ts';
import { abandonStatements, lockWeek } from './statements.ts';
import type { ConsolidationWeek } from './week.ts';

/**
 * Cleans up and closes the journal row. Can be broken off and called again.
 *
 * @param error why, for the journal
 */
export const abandon = async (pool: Pool, week: ConsolidationWeek, error: string): Promise<void> => {
  if ((await stepOf(pool, week)) === null) return;
  const statements = abandonStatements(week);
  const { rows } = await pool.query<{ captured: boolean }>(
    'select exists (select from pg_trigger g where g.tgfoid = to_regproc($1)) as captured',
    [week.forward.log],
  );
  // Triggers are dropped under a lock that readers feel, too, so only if there are any.
  if (rows[0]?.captured === true) {
    // The caller may have been asked to stop: cleaning up is not part of what it stops.
    await runLocked(pool, week.set, [lockWeek(week), ...statements], {
      signal: new AbortController().signal,
      patience: PATIENCE,
    });
  } else {
    await withTransaction(pool, async (client) => {
      for (const statement of statements) await client.query(statement);
    });
  }
  await markFailed(pool, week, error);
};
